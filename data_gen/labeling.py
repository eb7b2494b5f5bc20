"""Labels for the steps of a solution, from rollouts alone.

- `locate_first_error`: binary search for the first step after which no rollout succeeds (the search of OmegaPRM, Luo et al. 2024, without
  its tree). A right solution needs no rollouts: it is itself a success that runs through each of its prefixes.
- `estimate_every_step`: a fixed number of rollouts after every step (Math-Shepherd, Wang et al. 2024; soft labels as in Snell et al. 2024,
  appendix D).
"""

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from data_gen.grading import Grader
from data_gen.ledger import LedgerPolicy
from data_gen.records import FinishReason, GradedSolution, LabeledSolution, SamplingParams, StepEstimate
from data_gen.rollouts import Prefix, estimate_value
from data_gen.steps import split_steps, step_spans

WITNESS = StepEstimate(method="witness", stopping="first_success")


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """How step labels are made."""

    method: Literal["first_error", "every_step"] = "first_error"
    n_rollouts: int = field(default=8, metadata={"help": "rollouts a step (first_error: at most, it stops at the first success)"})


@dataclass(frozen=True)
class LabelingTask:
    """One problem whose solutions are to be labelled, and everything that takes.

    `samples` are the problem's graded draws with indices 0, 1, …: a fixed number of rollouts from the root. `vocabulary` holds the bytes of
    each token id, `params` are those of the rollouts, which go through `policy` into its ledger.
    """

    policy: LedgerPolicy
    grader: Grader
    samples: tuple[GradedSolution, ...]
    vocabulary: list[bytes]
    separator: str
    params: SamplingParams
    settings: LabelSettings


async def label_samples(task: LabelingTask) -> tuple[LabeledSolution | str, ...]:
    """For each of the task's solutions its labels, or the reason why it has none."""
    return tuple(await asyncio.gather(*(label_solution(task, graded) for graded in task.samples)))


async def label_solution(task: LabelingTask, graded: GradedSolution) -> LabeledSolution | str:
    """The labelled solution, or the reason why it has no labels."""
    reason = unlabelable_reason(graded)
    if reason is not None:
        return reason
    prefixes = step_prefixes(task.policy, graded, task.vocabulary, task.separator)
    if len(prefixes) != len(split_steps(graded.solution.text, task.separator)):
        return "steps_unaligned"  # a token carries the end of one separator and a whole step more
    method = {"first_error": locate_first_error, "every_step": estimate_every_step}[task.settings.method]
    return await method(task.policy, task.grader, graded, prefixes, task.separator, task.params, task.settings.n_rollouts)


def step_prefixes(policy: LedgerPolicy, graded: GradedSolution, vocabulary: list[bytes], separator: str) -> list[Prefix]:
    """The prefix that ends with each step, token-exact: ids are those that the policy wrote, never tokenized again."""
    ids = graded.solution.token_ids
    prompt_ids = policy.encode_prompt(policy.problem.question)
    prefixes = []
    for _, end in step_spans(ids, vocabulary, separator):
        text = b"".join(vocabulary[token] for token in ids[:end]).decode(errors="replace")
        prefixes.append(Prefix(prompt_ids + ids[:end], text))
    return prefixes


async def locate_first_error(
    policy: LedgerPolicy,
    grader: Grader,
    graded: GradedSolution,
    prefixes: list[Prefix],
    separator: str,
    params: SamplingParams,
    n_rollouts: int,
) -> LabeledSolution:
    """True before the first error, False at it, None after it (what follows an error has no defined label).

    A step is good if any of `n_rollouts` rollouts from the prefix that ends with it succeeds; the last step of a wrong solution is bad
    without a rollout. Costs at most ceil(log2(number of steps)) estimates. Raises ValueError for a solution whose verdict is unknown.
    """
    steps = split_steps(graded.solution.text, separator)
    check_labelable(graded, steps, prefixes)
    if graded.verdict.is_correct:
        return LabeledSolution(graded, steps, (WITNESS,) * len(steps), (True,) * len(steps))
    estimates = [StepEstimate()] * len(steps)
    first_bad, first_open = len(steps) - 1, 0  # the first error lies in [first_open, first_bad]
    while first_open < first_bad:
        middle = (first_open + first_bad) // 2
        estimates[middle] = await estimate_value(policy, grader, prefixes[middle], params, n_rollouts, "first_success")
        if estimates[middle].n_correct:
            first_open = middle + 1
        else:
            first_bad = middle
    estimates[-1] = StepEstimate(method="terminal") if estimates[-1].method == "none" else estimates[-1]
    for i in range(first_bad):  # a success after a later step runs through every earlier one
        if estimates[i].method == "none":
            estimates[i] = WITNESS
    labels = tuple(True if i < first_bad else False if i == first_bad else None for i in range(len(steps)))
    return LabeledSolution(graded, steps, tuple(estimates), labels)


async def estimate_every_step(
    policy: LedgerPolicy,
    grader: Grader,
    graded: GradedSolution,
    prefixes: list[Prefix],
    separator: str,
    params: SamplingParams,
    n_rollouts: int,
) -> LabeledSolution:
    """A fixed-n estimate after every step but the last, whose value is the verdict itself; hard label: any success."""
    steps = split_steps(graded.solution.text, separator)
    check_labelable(graded, steps, prefixes)
    estimates = [await estimate_value(policy, grader, prefix, params, n_rollouts, "fixed") for prefix in prefixes[:-1]]
    # every continuation of a finished solution is that solution
    estimates.append(StepEstimate(n_rollouts * graded.verdict.is_correct, n_rollouts, 0, "terminal", "fixed"))
    return LabeledSolution(graded, steps, tuple(estimates), tuple(estimate.n_correct > 0 for estimate in estimates))


def check_labelable(graded: GradedSolution, steps: tuple[str, ...], prefixes: list[Prefix]) -> None:
    where = f"solution {graded.solution.index} of {graded.solution.problem_id}"
    if graded.verdict.is_unknown:
        raise ValueError(f"{where}: its verdict is unknown ({graded.verdict.reason}); expected correct or incorrect")
    if len(steps) != len(prefixes):
        raise ValueError(f"{where}: {len(steps)} steps in the text and {len(prefixes)} in the token ids; expected the same number")


def unlabelable_reason(graded: GradedSolution) -> str | None:
    """Why a solution gets no step labels (None: it gets them)."""
    if graded.solution.finish_reason is FinishReason.LENGTH:
        return "truncated"
    if graded.verdict.is_unknown:
        return graded.verdict.reason
    return None
