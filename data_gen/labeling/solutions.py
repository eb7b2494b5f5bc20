"""Labels for the steps of a solution, from rollouts alone. A solution has K steps; a rollout continues it
after one of them.

- `estimate_every_step`: a number of rollouts after every step (Math-Shepherd, Wang et al. 2024; soft values
  as in Snell et al. 2024, appendix D). The number is fixed, or drawing stops when an interval that allows for
  stopping is narrow enough.
- `locate_first_error`, `locate_by_tests`, `locate_by_posterior` (in `first_error`): searches for the first
  error of a wrong solution.
- `omega_search` (in `omega`): the tree of OmegaPRM, Luo et al. 2024.

A right solution costs the searches no rollout: it is itself a success that runs through each of its prefixes.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from data_gen.grading.graders import Grader
from data_gen.labeling.beliefs import NO_DOUBT, Belief, doubt, trusted
from data_gen.labeling.branches import Cut, branches
from data_gen.labeling.first_error import (
    StepPath,
    check_around_error,
    locate_by_posterior,
    locate_by_tests,
    locate_first_error,
)
from data_gen.labeling.omega import omega_search
from data_gen.labeling.posterior import PromptEvidence
from data_gen.labeling.rollouts import (
    FIXED,
    RARELY_SOLVED,
    WITNESS,
    RolloutSource,
    estimate_root,
    estimate_value,
    is_too_rare,
    terminal,
    unlabelable_reason,
    until_narrow,
)
from data_gen.labeling.settings import LabelSettings
from data_gen.ledger.policy import LedgerPolicy
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import GradedSolution, LabeledSolution, StepEstimate
from data_gen.records.steps import spans_of_steps, split_steps
from data_gen.sampling.solutions import Prefix
from data_gen.settings.errors import InputError


@dataclass(frozen=True)
class LabelingTask:
    """One problem whose solutions are to be labeled, with everything that is needed for it.

    `samples` are the problem's graded draws with indices 0, 1, …, which also count as rollouts from the
    prompt. `vocabulary` holds the bytes of each token id. `params` are the sampling parameters of the
    rollouts, which `policy` draws and keeps in its ledger. `beliefs` are those of scorers, by sample index.
    """

    policy: LedgerPolicy
    grader: Grader
    samples: tuple[GradedSolution, ...]
    vocabulary: list[bytes]
    separator: str
    params: SamplingParams
    settings: LabelSettings
    beliefs: Mapping[int, Belief] = field(default_factory=dict)


async def label_samples(task: LabelingTask) -> tuple[LabeledSolution | str, ...]:
    """For each of the task's solutions its labels, or the reason why it has none. OmegaPRM also labels
    rollouts that it searched.
    """
    source = RolloutSource(task.policy, task.grader, task.params)
    if task.settings.method == "omega":
        return await omega_search(source, task.samples, task.vocabulary, task.separator, task.settings)

    root = estimate_root(task.samples)
    cut = [cut_into_steps(task, graded, root) for graded in task.samples]
    paths = [path for path in cut if isinstance(path, StepPath)]
    labeled = await label_paths(source, paths, task.settings, partial(cut_into_steps, task))
    outcomes = iter(labeled)
    of_samples = [next(outcomes) if isinstance(path, StepPath) else path for path in cut]
    return (*of_samples, *outcomes)


def cut_into_steps(task: LabelingTask, graded: GradedSolution, root: StepEstimate) -> StepPath | str:
    """The solution cut into its steps, or the reason why it gets no labels."""
    reason = unlabelable_reason(graded)
    if reason is not None:
        return reason
    if not graded.verdict.is_correct and is_too_rare(root, task.settings.min_root_share):
        return RARELY_SOLVED
    believed = task.beliefs.get(graded.solution.index)
    if not graded.verdict.is_correct and believed and doubt(believed) < task.settings.min_doubt:
        return NO_DOUBT

    steps = split_steps(graded.solution.text, task.separator)
    prefixes = step_prefixes(task.policy, graded, task.vocabulary, task.separator)
    # They differ if a single token holds the end of a separator and the whole next step.
    if len(prefixes) != len(steps):
        return "steps_unaligned"
    if believed is None:
        return StepPath(graded, steps, prefixes, root)
    if len(believed) != len(steps):
        raise InputError(
            f"sample {graded.solution.index} of {graded.solution.problem_id}: {len(believed)} scores for its "
            f"{len(steps)} steps; expected one for each, of the rows of `prm-train label --export_rows`"
        )
    return StepPath(graded, steps, prefixes, root, trusted(believed, task.settings.scorer_trust))


async def label_paths(
    source: RolloutSource, paths: Sequence[StepPath], settings: LabelSettings, cut: Cut | None = None
) -> list[LabeledSolution]:
    """The labels of a problem's solutions by one of the methods that label solutions by themselves; behind
    them those of their branches (`n_branches`), which `cut` cuts into steps.

    All are labeled at the same time. Only `posterior` takes one after the other, since each profits from the
    rollouts of those before it. Raises ValueError for a solution whose verdict is unknown.
    """
    if not paths:
        return []
    for path in paths:
        check_labelable(path)

    evidence = PromptEvidence(paths[0].root.n_correct, paths[0].root.n_rollouts)
    if settings.method == "posterior":
        labeled = [await _label_path(source, path, settings, evidence) for path in paths]
        if cut is None or not settings.n_branches:
            return labeled
        begun = list(zip(paths, labeled, strict=True))
        further = await branches(source, begun, settings.n_branches, cut)
        return labeled + [await _label_path(source, path, settings, evidence) for path in further]
    return list(await asyncio.gather(*(_label_path(source, path, settings, evidence) for path in paths)))


async def _label_path(
    source: RolloutSource, path: StepPath, settings: LabelSettings, evidence: PromptEvidence
) -> LabeledSolution:
    if settings.method == "every_step":
        return await estimate_every_step(source, path, settings)
    if path.graded.verdict.is_correct:
        return all_right(path)

    if settings.method == "first_error":
        labeled = await locate_first_error(source, path, settings)
    elif settings.method == "sequential":
        labeled = await locate_by_tests(source, path, settings)
    else:
        labeled = await locate_by_posterior(source, path, settings, evidence)
    return await check_around_error(source, path, labeled, settings.n_check)


def step_prefixes(
    policy: LedgerPolicy, graded: GradedSolution, vocabulary: list[bytes], separator: str
) -> tuple[Prefix, ...]:
    """The prefix that ends with each step, token-exact: its ids are those that the policy wrote, since text
    tokenized again may differ.
    """
    ids = graded.solution.token_ids
    prompt_ids = policy.encode_prompt(policy.question.question)
    pieces = [vocabulary[token] for token in ids]
    written, prefixes = b"", []
    for start, end in spans_of_steps(pieces, separator):
        if end > start:
            written += b"".join(pieces[start:end])
            prefixes.append(Prefix(prompt_ids + ids[:end], written.decode(errors="replace")))
    return tuple(prefixes)


async def estimate_every_step(
    source: RolloutSource, path: StepPath, settings: LabelSettings
) -> LabeledSolution:
    """An estimate after every step but the last, whose value is the verdict itself. The hard label is whether
    any rollout succeeded.
    """
    if settings.stopping == "interval":
        n_rollouts, rule = settings.max_rollouts, until_narrow(settings.interval_width)
    else:
        n_rollouts, rule = settings.n_rollouts, FIXED
    estimates = [await estimate_value(source, prefix, n_rollouts, rule) for prefix in path.prefixes[:-1]]
    last = terminal(path.graded.verdict.is_correct)
    labels = (*(estimate.n_correct > 0 for estimate in estimates), path.graded.verdict.is_correct)
    return LabeledSolution(path.graded, path.steps, (*estimates, last), labels, root=path.root)


def all_right(path: StepPath) -> LabeledSolution:
    """The labels of a right solution: every one True, without a rollout."""
    return LabeledSolution(
        path.graded, path.steps, (WITNESS,) * len(path.steps), (True,) * len(path.steps), root=path.root
    )


def check_labelable(path: StepPath) -> None:
    """Raises ValueError for a solution without a verdict, or whose steps and prefixes differ in number."""
    where = f"solution {path.graded.solution.index} of {path.graded.solution.problem_id}"
    if path.graded.verdict.is_unknown:
        raise ValueError(
            f"{where}: its verdict is unknown ({path.graded.verdict.reason}); expected correct or incorrect"
        )
    if len(path.steps) != len(path.prefixes):
        raise ValueError(
            f"{where}: {len(path.steps)} steps in the text and {len(path.prefixes)} in the token ids; "
            "expected the same number"
        )
