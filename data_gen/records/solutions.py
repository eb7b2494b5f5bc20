"""The frozen records that pass between stages. A later stage wraps an earlier record, it never fills fields
of it.
"""

from dataclasses import dataclass

from data_gen.records.sampling import FinishReason

# People's own graders import all of these from here
from data_gen.records.verdicts import CORRECT as CORRECT
from data_gen.records.verdicts import INCORRECT as INCORRECT
from data_gen.records.verdicts import Verdict as Verdict
from data_gen.records.verdicts import unknown as unknown


@dataclass(frozen=True)
class Question:
    """What a policy is asked: all that drawing, scoring and searching need. `problem_id` is unique in a data
    set.
    """

    problem_id: str
    question: str


@dataclass(frozen=True)
class Problem(Question):
    """A question and the answer that is known for it, which only grading reads; each of `other_answers` is
    right, too.
    """

    gold_answer: str
    other_answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Solution:
    """A whole attempt at a problem: the `index`-th draw from its prompt, or a text from elsewhere (then
    without ids and log-probs).
    """

    problem_id: str
    index: int
    text: str
    finish_reason: FinishReason = FinishReason.EOS
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()


@dataclass(frozen=True)
class GradedSolution:
    """A solution, the answer read from it (None: none found) and the verdict on it."""

    solution: Solution
    answer: str | None
    verdict: Verdict


GIVEN = "given"  # method of a value that came with the data, without rollouts


@dataclass(frozen=True)
class StepEstimate:
    """Monte Carlo evidence on the prefix that ends with a step.

    `n_correct` of `n_rollouts` rollouts from the prefix were right; `n_unknown` of them got no verdict or
    were truncated and count as failures of the budget. `method`: rollouts (drawn here), witness (a right
    solution runs through this prefix; no rollouts), terminal (the end of the solution: its own verdict),
    given (a value that came with the data: low = high) or none (never probed). `stopping` is fixed (always
    the full n) or the rule that ended the draws (first_success, sequential, interval, posterior, check):
    under those n_correct / n_rollouts is biased, its likelihood is not. [low, high] holds the value with at
    least 95 % probability over the draws, whatever the rule.
    """

    n_correct: int = 0
    n_rollouts: int = 0
    n_unknown: int = 0
    method: str = "none"
    stopping: str = "fixed"
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class LabeledSolution:
    """A graded solution, its steps (texts without separators), their estimates and labels (None: no label,
    masked in training).

    `root` is the value of the prompt, from the problem's own samples. `non_monotone` are the steps at or
    after the located error from which rollouts succeed again: the policy corrected itself, or the error was
    none.
    """

    graded: GradedSolution
    steps: tuple[str, ...]
    estimates: tuple[StepEstimate, ...]
    labels: tuple[bool | None, ...]
    root: StepEstimate = StepEstimate()
    non_monotone: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.steps) == len(self.estimates) == len(self.labels):
            raise ValueError(
                f"{len(self.steps)} steps, {len(self.estimates)} estimates, {len(self.labels)} labels: "
                "expected one of each a step"
            )
