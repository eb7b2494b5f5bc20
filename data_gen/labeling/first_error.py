"""Where is the first error of a wrong solution? Three searches that answer it with rollouts; a rollout
continues the solution after a step.

- `locate_first_error`: binary search for the first step after which no rollout succeeds (the search of
  OmegaPRM without its tree).
- `locate_by_tests`: the same search, where each decision is a sequential test of whether the step destroyed
  most of the prompt's value.
- `locate_by_posterior`: rollouts where they tell most about the first error per token, until one step is
  likely enough (`posterior`).

A binary search over six steps, the fourth of which (d) is the first error::

    steps                a     b     c     d     e     f
    is it good?          .     .     .     .     .     bad      the last step of a wrong solution is bad
                         without a rollout
    1st probe: c                     good                       the first error is one of d, e, f
    2nd probe: e                                 bad            d or e
    3rd probe: d                           bad                  d

The labels are True before the error, False at it and None after it: what follows an error has no defined
label.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from data_gen.labeling.posterior import FirstErrorPosterior, PromptEvidence
from data_gen.labeling.rollouts import (
    CHECK,
    FIRST_SUCCESS,
    FIXED,
    NOT_PROBED,
    WITNESS,
    RolloutSource,
    Tally,
    estimate_value,
    terminal,
    until_decided,
)
from data_gen.labeling.sequential import SequentialTest
from data_gen.labeling.settings import LabelSettings
from data_gen.records.solutions import GradedSolution, LabeledSolution, StepEstimate
from data_gen.sampling.solutions import Prefix


@dataclass(frozen=True)
class StepPath:
    """A solution cut into its steps: `prefixes[i]` ends with step i, token-exact. `root` is the value of the
    prompt.

    `believed` says before any rollout how probable it is that a wrong solution's first error is each of its
    steps; None: the same for all.
    """

    graded: GradedSolution
    steps: tuple[str, ...]
    prefixes: tuple[Prefix, ...]
    root: StepEstimate = NOT_PROBED
    believed: tuple[float, ...] | None = None

    def n_tokens_left(self) -> list[int]:
        """How many tokens the solution itself took after each step but the last: a guess of what a rollout
        from there will cost.
        """
        ends = [len(prefix.token_ids) for prefix in self.prefixes]
        return [max(1, ends[-1] - end) for end in ends[:-1]]


async def first_bad(n: int, is_good: Callable[[int], Awaitable[bool]]) -> int:
    """Binary search for the first bad one of `n` steps, the last of which is known to be bad; asks at most
    ceil(log2(n)) times.
    """
    first_open, bad = 0, n - 1  # the first bad one lies in [first_open, bad]
    while first_open < bad:
        middle = (first_open + bad) // 2
        if await is_good(middle):
            first_open = middle + 1
        else:
            bad = middle
    return bad


async def locate_first_error(
    source: RolloutSource, path: StepPath, settings: LabelSettings
) -> LabeledSolution:
    """A step is good if any of n_rollouts rollouts after it succeeds.

    Each estimate stops at its first success, since more rollouts could not change the label.
    """
    estimates: dict[int, StepEstimate] = {}

    async def is_good(step: int) -> bool:
        estimates[step] = await estimate_value(
            source, path.prefixes[step], settings.n_rollouts, FIRST_SUCCESS
        )
        return estimates[step].n_correct > 0

    error = await first_bad(len(path.steps), is_good)
    return labeled_up_to(path, error, estimates)


async def locate_by_tests(source: RolloutSource, path: StepPath, settings: LabelSettings) -> LabeledSolution:
    """A step is good if a sequential test (`SequentialTest`) says that the solution keeps most of the value
    it had before.

    H0: the value after the step is at most `low_share` of the value so far, H1: at least `high_share`. The
    value so far is estimated from the prompt's samples and the rollouts after the steps already judged good,
    all pooled, with half a success and half a failure added. It rises along the solution as the policy's own
    does.
    """
    estimates: dict[int, StepEstimate] = {}
    n_correct, n_rollouts = path.root.n_correct, path.root.n_rollouts

    async def is_good(step: int) -> bool:
        nonlocal n_correct, n_rollouts
        value = (n_correct + 0.5) / (n_rollouts + 1)
        test = SequentialTest(
            settings.low_share * value,
            settings.high_share * value,
            settings.false_positive_rate,
            settings.false_negative_rate,
        )
        estimate = estimates[step] = await estimate_value(
            source, path.prefixes[step], settings.max_rollouts, until_decided(test)
        )
        # A test that max_rollouts cut short counts for the likelier side.
        if not test.leaning(estimate.n_correct, estimate.n_rollouts):
            return False
        n_correct, n_rollouts = n_correct + estimate.n_correct, n_rollouts + estimate.n_rollouts
        return True

    error = await first_bad(len(path.steps), is_good)
    return labeled_up_to(path, error, estimates)


async def locate_by_posterior(
    source: RolloutSource, path: StepPath, settings: LabelSettings, evidence: PromptEvidence
) -> LabeledSolution:
    """Rollouts one by one, each where it tells most per token, until one step is the first error with
    probability 1 - error_rate.

    If max_solution_rollouts do not suffice, the error is not located (steps that precede it with that
    probability are True, others None), or, with `when_open` "likeliest", is the likeliest step. The new
    rollouts are added to the problem's `evidence`.
    """
    n_steps, prefixes = len(path.steps), path.prefixes[:-1]
    belief = evidence.belief({prefix.token_ids for prefix in prefixes})
    posterior = FirstErrorPosterior(n_steps, belief, path.believed)
    tallies = [Tally() for _ in prefixes]

    # Another solution that begins with the same steps may have drawn rollouts after them. They are in the
    # ledger and cost nothing.
    for step, prefix in enumerate(prefixes):
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

    error, n_good = _decided(posterior, settings)

    # Rollouts after good steps say what the value of the prompt is, which helps with the problem's next
    # solutions.
    for step in range(n_good):
        if tallies[step].n_rollouts:
            evidence.good[prefixes[step].token_ids] = (step + 1) / n_steps

    estimates = {step: tally.estimate("posterior") for step, tally in enumerate(tallies) if tally.n_rollouts}
    return labeled_up_to(path, error, estimates, n_good)


def _decided(posterior: FirstErrorPosterior, settings: LabelSettings) -> tuple[int | None, int]:
    """The first error, None if no step is likely enough, and how many steps before it are good."""
    error = int(posterior.probabilities.argmax())
    if posterior.probabilities[error] >= 1 - settings.error_rate or settings.when_open == "likeliest":
        return error, error
    return None, int((np.cumsum(posterior.probabilities) <= settings.error_rate).sum())


def labeled_up_to(
    path: StepPath, error: int | None, estimates: dict[int, StepEstimate], n_good: int = 0
) -> LabeledSolution:
    """True before the first error, False at it, None after it; without a located error, True for the first
    `n_good` steps and None after.

    Steps that were not probed themselves, but stand before one after which a rollout succeeded, get the
    estimate WITNESS: that rollout runs through them too. Steps from the error on whose rollouts succeeded are
    `non_monotone`.
    """
    n_steps, n_good = len(path.steps), n_good if error is None else error
    labels = [True if i < n_good else False if i == error else None for i in range(n_steps)]

    last_success = max((i for i in range(n_good) if i in estimates and estimates[i].n_correct), default=0)
    known = (
        {i: WITNESS for i in range(last_success)}
        | {n_steps - 1: terminal(path.graded.verdict.is_correct)}
        | estimates
    )
    recovered = (
        ()
        if error is None
        else tuple(i for i in range(error, n_steps) if i in estimates and estimates[i].n_correct)
    )
    return LabeledSolution(
        path.graded,
        path.steps,
        tuple(known.get(i, NOT_PROBED) for i in range(n_steps)),
        tuple(labels),
        root=path.root,
        non_monotone=recovered,
    )


async def check_around_error(
    source: RolloutSource, path: StepPath, labeled: LabeledSolution, n_rollouts: int
) -> LabeledSolution:
    """Look with `n_rollouts` rollouts for successes at and after the located error. Steps with any join
    `non_monotone`.

    A search takes it that no rollout succeeds after the error. This tries it where the search drew fewer and
    none succeeded:

    - just before the located error, and at it,
    - half way from it to the last step,
    - at the step before the last.
    """
    if not n_rollouts or False not in labeled.labels:
        return labeled
    error, last = labeled.labels.index(False), len(path.steps) - 1
    around = {error - 1, error, (error + last) // 2, last - 1} & set(range(last))
    open_steps = [i for i in sorted(around) if _is_open(labeled.estimates[i], n_rollouts)]

    # A step that the search probed was chosen because its first rollouts failed, which the rule CHECK
    # records.
    estimates = {i: estimate for i, estimate in enumerate(labeled.estimates) if estimate.method == "rollouts"}
    rules = [CHECK if i in estimates else FIXED for i in open_steps]
    checked = await asyncio.gather(
        *(
            estimate_value(source, path.prefixes[i], n_rollouts, rule)
            for i, rule in zip(open_steps, rules, strict=True)
        )
    )
    return labeled_up_to(path, error, estimates | dict(zip(open_steps, checked, strict=True)))


def _is_open(estimate: StepEstimate, n_rollouts: int) -> bool:
    return estimate.method != "witness" and estimate.n_correct == 0 and estimate.n_rollouts < n_rollouts
