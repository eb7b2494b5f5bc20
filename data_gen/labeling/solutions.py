"""Labels for the steps of a solution, from rollouts alone. A solution has K steps; a rollout continues it after one of them.

- `estimate_every_step`: a number of rollouts after every step (Math-Shepherd, Wang et al. 2024; soft values as in Snell et al. 2024,
  appendix D). The number is fixed, or drawing stops when an interval that allows for stopping is narrow enough.
- `locate_first_error`: binary search for the first step after which no rollout succeeds (the search of OmegaPRM without its tree).
- `locate_by_tests`: the same search where each decision is a sequential test of whether the step destroyed most of the prompt's value.
- `locate_by_posterior`: rollouts where they tell most about the first error per token, until its place is likely enough (`posterior`).
- `omega_search` (in `omega`): the tree of OmegaPRM, Luo et al. 2024.

The search for a first error gives True before it, False at it and None after it: what follows an error has no defined label. A right
solution costs it no rollout: the solution is itself a success that runs through each of its prefixes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_gen.grading.graders import Grader
from data_gen.labeling.omega import omega_search
from data_gen.labeling.posterior import FirstErrorPosterior, PromptEvidence
from data_gen.labeling.rollouts import (
    CHECK,
    FIRST_SUCCESS,
    FIXED,
    NOT_PROBED,
    WITNESS,
    RolloutSource,
    Tally,
    estimate_root,
    estimate_value,
    terminal,
    unlabelable_reason,
    until_decided,
    until_narrow,
)
from data_gen.labeling.sequential import SequentialTest
from data_gen.labeling.settings import LabelSettings
from data_gen.ledger.policy import LedgerPolicy
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import GradedSolution, LabeledSolution, StepEstimate
from data_gen.records.steps import split_steps, step_spans
from data_gen.sampling.solutions import Prefix


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


@dataclass(frozen=True)
class StepPath:
    """A solution cut into its steps: `prefixes[i]` ends with step i, token-exact. `root` is the value of the prompt."""

    graded: GradedSolution
    steps: tuple[str, ...]
    prefixes: tuple[Prefix, ...]
    root: StepEstimate = NOT_PROBED

    def n_tokens_left(self) -> list[int]:
        """What the solution itself took after each step but the last: the guess of what a rollout from there will cost."""
        ends = [len(prefix.token_ids) for prefix in self.prefixes]
        return [max(1, ends[-1] - end) for end in ends[:-1]]


async def label_samples(task: LabelingTask) -> tuple[LabeledSolution | str, ...]:
    """For each of the task's solutions its labels, or the reason why it has none. OmegaPRM also labels rollouts that it searched."""
    source = RolloutSource(task.policy, task.grader, task.params)
    if task.settings.method == "omega":
        return await omega_search(source, task.samples, task.vocabulary, task.separator, task.settings)
    root = estimate_root(task.samples)
    cut = [_path(task, graded, root) for graded in task.samples]
    labeled = iter(await label_paths(source, [path for path in cut if isinstance(path, StepPath)], task.settings))
    return tuple(next(labeled) if isinstance(path, StepPath) else path for path in cut)


def _path(task: LabelingTask, graded: GradedSolution, root: StepEstimate) -> StepPath | str:
    """The solution cut into its steps, or the reason why it gets no labels."""
    reason = unlabelable_reason(graded)
    if reason is not None:
        return reason
    steps = split_steps(graded.solution.text, task.separator)
    prefixes = step_prefixes(task.policy, graded, task.vocabulary, task.separator)
    if len(prefixes) != len(steps):
        return "steps_unaligned"  # a token carries the end of one separator and a whole step more
    return StepPath(graded, steps, prefixes, root)


async def label_paths(source: RolloutSource, paths: Sequence[StepPath], settings: LabelSettings) -> list[LabeledSolution]:
    """The labels of a problem's solutions by one of the methods that label solutions by themselves.

    All are labelled at once, but by `posterior` one after the other, since each learns from those before it. Raises ValueError for a
    solution whose verdict is unknown.
    """
    if not paths:
        return []
    for path in paths:
        check_labelable(path)
    evidence = PromptEvidence(paths[0].root.n_correct, paths[0].root.n_rollouts)
    if settings.method == "posterior":
        return [await _label_path(source, path, settings, evidence) for path in paths]
    return list(await asyncio.gather(*(_label_path(source, path, settings, evidence) for path in paths)))


async def _label_path(source: RolloutSource, path: StepPath, settings: LabelSettings, evidence: PromptEvidence) -> LabeledSolution:
    if settings.method == "every_step":
        return await estimate_every_step(source, path, settings)
    if path.graded.verdict.is_correct:
        return witnessed(path)
    if settings.method == "first_error":
        labeled = await locate_first_error(source, path, settings)
    elif settings.method == "sequential":
        labeled = await locate_by_tests(source, path, settings)
    else:
        labeled = await locate_by_posterior(source, path, settings, evidence)
    return await check_around_error(source, path, labeled, settings.n_check)


def step_prefixes(policy: LedgerPolicy, graded: GradedSolution, vocabulary: list[bytes], separator: str) -> tuple[Prefix, ...]:
    """The prefix that ends with each step, token-exact: ids are those that the policy wrote, never tokenized again."""
    ids = graded.solution.token_ids
    prompt_ids = policy.encode_prompt(policy.problem.question)
    written, prefixes = b"", []
    for start, end in step_spans(ids, vocabulary, separator):
        written += b"".join([vocabulary[token] for token in ids[start:end]])
        prefixes.append(Prefix(prompt_ids + ids[:end], written.decode(errors="replace")))
    return tuple(prefixes)


async def estimate_every_step(source: RolloutSource, path: StepPath, settings: LabelSettings) -> LabeledSolution:
    """An estimate after every step but the last, whose value is the verdict itself; hard label: any success."""
    if settings.stopping == "interval":
        n_rollouts, rule = settings.max_rollouts, until_narrow(settings.interval_width)
    else:
        n_rollouts, rule = settings.n_rollouts, FIXED
    estimates = [await estimate_value(source, prefix, n_rollouts, rule) for prefix in path.prefixes[:-1]]
    last = terminal(path.graded.verdict.is_correct)
    labels = (*(estimate.n_correct > 0 for estimate in estimates), path.graded.verdict.is_correct)
    return LabeledSolution(path.graded, path.steps, (*estimates, last), labels, root=path.root)


async def locate_first_error(source: RolloutSource, path: StepPath, settings: LabelSettings) -> LabeledSolution:
    """A step is good if any of n_rollouts rollouts after it succeeds; the last step of a wrong solution is bad without a rollout.

    Costs at most ceil(log2(number of steps)) estimates, each stopped at its first success: more rollouts could not change its label.
    """
    estimates: dict[int, StepEstimate] = {}
    first_bad, first_open = len(path.steps) - 1, 0  # the first error lies in [first_open, first_bad]
    while first_open < first_bad:
        middle = (first_open + first_bad) // 2
        estimates[middle] = await estimate_value(source, path.prefixes[middle], settings.n_rollouts, FIRST_SUCCESS)
        if estimates[middle].n_correct:
            first_open = middle + 1
        else:
            first_bad = middle
    return labeled_up_to(path, first_bad, estimates)


async def locate_by_tests(source: RolloutSource, path: StepPath, settings: LabelSettings) -> LabeledSolution:
    """Binary search whose every decision is a sequential test (`SequentialTest`) against the value that the solution had so far.

    H0: the value after a step is at most `low_share` of it, H1: at least `high_share`. The value so far is that of the prompt's samples,
    pooled with the rollouts after the steps already found good, half a success and half a failure added: it rises as the policy's does.
    """
    estimates: dict[int, StepEstimate] = {}
    n_correct, n_rollouts = path.root.n_correct, path.root.n_rollouts
    first_bad, first_open = len(path.steps) - 1, 0
    while first_open < first_bad:
        middle = (first_open + first_bad) // 2
        value = (n_correct + 0.5) / (n_rollouts + 1)
        test = SequentialTest(
            settings.low_share * value, settings.high_share * value, settings.false_positive_rate, settings.false_negative_rate
        )
        estimate = estimates[middle] = await estimate_value(source, path.prefixes[middle], settings.max_rollouts, until_decided(test))
        if test.leaning(estimate.n_correct, estimate.n_rollouts):
            first_open = middle + 1
            n_correct, n_rollouts = n_correct + estimate.n_correct, n_rollouts + estimate.n_rollouts
        else:
            first_bad = middle
    return labeled_up_to(path, first_bad, estimates)


async def locate_by_posterior(source: RolloutSource, path: StepPath, settings: LabelSettings, evidence: PromptEvidence) -> LabeledSolution:
    """Rollouts one by one, each where it tells most per token, until one step is the first error with probability 1 - error_rate.

    Where max_solution_rollouts do not suffice the error is not located: steps that precede it with that probability are True, others None.
    Adds what it drew to the problem's `evidence`.
    """
    n_steps, prefixes = len(path.steps), path.prefixes[:-1]
    posterior = FirstErrorPosterior(n_steps, evidence.belief({prefix.token_ids for prefix in prefixes}))
    tallies = [Tally() for _ in prefixes]
    for step, prefix in enumerate(prefixes):  # what is known from another solution that begins alike
        for index in range(len(evidence.outcomes.get(prefix.token_ids, ()))):
            posterior.observe(step, tallies[step].add(await source.draw(prefix, index)))
    costs = np.array(path.n_tokens_left(), dtype=float)
    for _ in range(settings.max_solution_rollouts):
        if posterior.probabilities.max() >= 1 - settings.error_rate:
            break
        step = posterior.next_step(costs)
        is_success = tallies[step].add(await source.draw(prefixes[step], tallies[step].n_rollouts))
        posterior.observe(step, is_success)
        evidence.outcomes.setdefault(prefixes[step].token_ids, []).append(is_success)
    n_good = int((np.cumsum(posterior.probabilities) <= settings.error_rate).sum())
    error: int | None = int(posterior.probabilities.argmax())
    if posterior.probabilities[error] < 1 - settings.error_rate:
        error = None
    for step in range(n_good if error is None else error):
        if tallies[step].n_rollouts:
            evidence.good[prefixes[step].token_ids] = (step + 1) / n_steps
    estimates = {step: tally.estimate("posterior") for step, tally in enumerate(tallies) if tally.n_rollouts}
    return labeled_up_to(path, error, estimates, n_good)


def labeled_up_to(path: StepPath, error: int | None, estimates: dict[int, StepEstimate], n_good: int = 0) -> LabeledSolution:
    """True before the first error, False at it, None after it; without a located error, True for the first `n_good` steps and None after.

    A success after a later step witnesses every step before it that has no rollouts of its own. Steps from the error on whose rollouts
    succeeded are `non_monotone`.
    """
    n_steps, n_good = len(path.steps), n_good if error is None else error
    labels = [True if i < n_good else False if i == error else None for i in range(n_steps)]
    last_success = max((i for i in range(n_good) if i in estimates and estimates[i].n_correct), default=0)
    filled = {i: WITNESS for i in range(last_success)} | {n_steps - 1: terminal(path.graded.verdict.is_correct)} | estimates
    recovered = () if error is None else tuple(i for i in range(error, n_steps) if i in estimates and estimates[i].n_correct)
    return LabeledSolution(
        path.graded,
        path.steps,
        tuple(filled.get(i, NOT_PROBED) for i in range(n_steps)),
        tuple(labels),
        root=path.root,
        non_monotone=recovered,
    )


async def check_around_error(source: RolloutSource, path: StepPath, labeled: LabeledSolution, n_rollouts: int) -> LabeledSolution:
    """A search trusts that what is lost stays lost. `n_rollouts` before and at the located error, half way from it to the end and just
    before the end, wherever fewer were drawn and none succeeded, show where that is not so: steps from the error on from which rollouts
    succeed join `non_monotone`.
    """
    if not n_rollouts or False not in labeled.labels:
        return labeled
    error, last = labeled.labels.index(False), len(path.steps) - 1
    around = {error - 1, error, (error + last) // 2, last - 1} & set(range(last))
    estimates = {i: estimate for i, estimate in enumerate(labeled.estimates) if estimate.method == "rollouts"}
    open_steps = [i for i in sorted(around) if _is_open(labeled.estimates[i], n_rollouts)]
    rules = [CHECK if i in estimates else FIXED for i in open_steps]
    found = await asyncio.gather(
        *(estimate_value(source, path.prefixes[i], n_rollouts, rule) for i, rule in zip(open_steps, rules, strict=True))
    )
    return labeled_up_to(path, error, estimates | dict(zip(open_steps, found, strict=True)))


def _is_open(estimate: StepEstimate, n_rollouts: int) -> bool:
    return estimate.method != "witness" and estimate.n_correct == 0 and estimate.n_rollouts < n_rollouts


def witnessed(path: StepPath) -> LabeledSolution:
    """A right solution: every label True, without a rollout."""
    return LabeledSolution(path.graded, path.steps, (WITNESS,) * len(path.steps), (True,) * len(path.steps), root=path.root)


def check_labelable(path: StepPath) -> None:
    where = f"solution {path.graded.solution.index} of {path.graded.solution.problem_id}"
    if path.graded.verdict.is_unknown:
        raise ValueError(f"{where}: its verdict is unknown ({path.graded.verdict.reason}); expected correct or incorrect")
    if len(path.steps) != len(path.prefixes):
        raise ValueError(
            f"{where}: {len(path.steps)} steps in the text and {len(path.prefixes)} in the token ids; expected the same number"
        )
