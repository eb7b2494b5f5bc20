"""Monte Carlo value of a prefix: draw continuations from it, grade the whole answers, stop by a stated
rule.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from data_gen.grading.graders import Grader
from data_gen.labeling.sequential import SequentialTest, anytime_interval, clopper_pearson, intersect
from data_gen.ledger.policy import LedgerPolicy
from data_gen.process.side_by_side import side_by_side
from data_gen.records.sampling import FinishReason, SamplingParams
from data_gen.records.solutions import GradedSolution, StepEstimate
from data_gen.records.verdicts import VerdictKind
from data_gen.sampling.solutions import NO_ROOM, Prefix, draw_graded

# In Python 3.11 to look up a member of an enum takes as long as a call, and each draw would do it eight times
LENGTH, CORRECT, UNKNOWN = FinishReason.LENGTH, VerdictKind.CORRECT, VerdictKind.UNKNOWN
# Why wrong solutions of a problem that the policy hardly ever solves get no labels, where that is asked for
RARELY_SOLVED = "rarely_solved"
# The estimate of a step after which nothing was drawn.
NOT_PROBED = StepEstimate()
# The estimate of a step that a right solution or a successful rollout runs through: its value is above 0, and
# nothing was drawn after it.
WITNESS = StepEstimate(method="witness", stopping="first_success")


def terminal(is_correct: bool) -> StepEstimate:
    """The estimate at the end of a finished solution: nothing follows, so its value is the verdict."""
    return StepEstimate(method="terminal", low=float(is_correct), high=float(is_correct))


@dataclass(frozen=True)
class RolloutSource:
    """Where the rollouts of one problem come from: the policy that writes them, the grader, and the sampling
    parameters.
    """

    policy: LedgerPolicy
    grader: Grader
    params: SamplingParams

    def draw(self, prefix: Prefix, index: int) -> Coroutine[Any, Any, GradedSolution]:
        """The `index`-th rollout from `prefix`, graded as a whole solution."""
        return draw_graded(self.policy, self.grader, prefix, self.params, index)

    async def draw_many(self, prefix: Prefix, n: int) -> tuple[GradedSolution, ...]:
        """The first `n` rollouts from `prefix`, drawn at once."""
        return tuple(await side_by_side(self.draw(prefix, index) for index in range(n)))


class Tally:
    """Success counts of one prefix, and the running intersection of their anytime-valid intervals.

    Truncated rollouts and those without a verdict count as failures, and `n_unknown` says how many they are.
    """

    def __init__(self) -> None:
        self.n_correct = self.n_rollouts = self.n_unknown = 0
        self.interval = (0.0, 1.0)

    def add(self, graded: GradedSolution) -> bool:
        """Count a rollout and return whether it was right."""
        kind = graded.verdict.kind
        self.n_rollouts += 1
        self.n_correct += kind is CORRECT
        self.n_unknown += kind is UNKNOWN or graded.solution.finish_reason is LENGTH
        self.interval = intersect(self.interval, anytime_interval(self.n_correct, self.n_rollouts))
        return kind is CORRECT

    def estimate(self, stopping: str) -> StepEstimate:
        """The counts as a record.

        With `stopping` fixed its interval is the exact one for a fixed number of rollouts. Any other rule
        looked at the counts before it stopped, which only the anytime-valid interval allows.
        """
        low, high = clopper_pearson(self.n_correct, self.n_rollouts) if stopping == "fixed" else self.interval
        return StepEstimate(self.n_correct, self.n_rollouts, self.n_unknown, "rollouts", stopping, low, high)


@dataclass(frozen=True)
class StoppingRule:
    """When a prefix has had enough rollouts before the greatest number is reached. `name` is written into the
    estimate.

    `all_at_once` says that no rollout has to wait for the result of another.
    """

    name: str
    is_enough: Callable[[Tally], bool]
    all_at_once: bool = False


FIXED = StoppingRule("fixed", lambda tally: False, all_at_once=True)
# All rollouts are drawn, as with FIXED, but from a prefix that was chosen because its first ones failed: the
# counts are biased.
CHECK = StoppingRule("check", lambda tally: False)
FIRST_SUCCESS = StoppingRule("first_success", lambda tally: tally.n_correct > 0)


def until_narrow(width: float) -> StoppingRule:
    """Stop when the anytime-valid interval of the value is no wider than `width`."""
    return StoppingRule("interval", lambda tally: tally.interval[1] - tally.interval[0] <= width)


def until_decided(test: SequentialTest) -> StoppingRule:
    """Stop when the test has accepted one of its hypotheses."""
    return StoppingRule(
        "sequential", lambda tally: test.decide(tally.n_correct, tally.n_rollouts) is not None
    )


async def estimate_value(
    source: RolloutSource, prefix: Prefix, n_rollouts: int, rule: StoppingRule = FIXED
) -> StepEstimate:
    """Success counts of at most `n_rollouts` rollouts with indices 0, 1, …, fewer if `rule` has had enough.

    A fixed number is drawn at once. Under any other rule rollouts are drawn one after the other, so that an
    estimate that stops has drawn none in vain. The batch is full all the same, since many prefixes are
    estimated at a time.
    """
    tally = Tally()
    if rule.all_at_once:
        for graded in await source.draw_many(prefix, n_rollouts):
            tally.add(graded)
        return tally.estimate(rule.name)

    for index in range(n_rollouts):
        tally.add(await source.draw(prefix, index))
        if rule.is_enough(tally):
            break
    return tally.estimate(rule.name)


def estimate_root(samples: tuple[GradedSolution, ...]) -> StepEstimate:
    """The value of the prompt. The problem's own samples are its rollouts, a fixed number of them."""
    tally = Tally()
    for graded in samples:
        tally.add(graded)
    return tally.estimate("fixed")


def is_too_rare(root: StepEstimate, min_share: float) -> bool:
    """Whether fewer of a problem's samples are right than `min_share` of them."""
    return root.n_correct < min_share * root.n_rollouts


def unlabelable_reason(graded: GradedSolution) -> str | None:
    """Why a solution gets no step labels, or None if it gets them."""
    if graded.solution.finish_reason is FinishReason.LENGTH and graded.verdict.reason != NO_ROOM:
        return "truncated"
    if graded.verdict.is_unknown:
        return graded.verdict.reason
    return None
