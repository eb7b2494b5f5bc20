"""Label algebra: what the evidence on the steps of a solution says of them. The one place where counts become
labels and values.

    hard          whether the value after a step is above a threshold; by default whether any rollout
                  succeeded (Math-Shepherd)
    soft          the value, n_correct / n_rollouts (Snell et al. 2024, App. D)
    smoothed      (n_correct + a) / (n_rollouts + 2 a): the mean of a Beta(a, a) prior after the counts
    advantage     what the step added to the value
    likelihood    the counts themselves, for the loss -(s log v + f log(1 - v)), right under every stopping
                  rule

A step whose evidence does not define the view gets None. Where what they showed stopped the rollouts
n_correct / n_rollouts is biased, and views that need it raise InputError. A right solution is itself a
success that runs through all of its steps, but one out of how many draws nobody knows: such a witness says
that the value is positive, not what it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Literal

from annotated_types import Interval

from data_gen.records.solutions import GIVEN, LabeledSolution, StepEstimate
from data_gen.settings.errors import InputError


@dataclass(frozen=True)
class LabelView:
    """How the label of a step is read. The counts stay in the rows, so that training can read them another
    way.
    """

    hard_threshold: Annotated[float, Interval(ge=0, lt=1)] | None = field(
        default=None,
        metadata={
            "help": "call a step right if more than this share of its rollouts succeed; null: as the "
            "labeling method says"
        },
    )
    until_first_error: bool = field(
        default=False,
        metadata={
            "help": "give no label after the first wrong step, and call no step wrong if rollouts after a "
            "later step succeeded"
        },
    )
    non_monotone: Literal["keep", "mask", "drop"] = field(
        default="keep",
        metadata={
            "help": "solutions whose rollouts succeed again after the located error: keep them, give no "
            "label "
            "from that error on, or leave them out"
        },
    )

    @property
    def meaning(self) -> str:
        """What a label says, in words for a dataset card."""
        rule = (
            "as the labeling method says"
            if self.hard_threshold is None
            else f"true if more than {self.hard_threshold:g} of the rollouts from the end of the step are "
            "right"
        )
        return rule + (", null after the first wrong step" if self.until_first_error else "")


def hard(estimates: Sequence[StepEstimate], threshold: float = 0.0) -> tuple[bool | None, ...]:
    """Whether the value after each step is above `threshold`; None for a witnessed step where the threshold
    is above 0.

    Raises InputError for a threshold above 0 where n_correct / n_rollouts is biased.
    """
    if not 0 <= threshold < 1:
        raise InputError(f"threshold: got {threshold}, expected 0 or more and less than 1")
    if threshold == 0:
        return tuple(_has_success(estimate) for estimate in estimates)
    values = _values(estimates, f"hard_threshold {threshold:g}")
    return tuple(None if value is None else value > threshold for value in values)


def soft(estimates: Sequence[StepEstimate]) -> tuple[float | None, ...]:
    """The value after each step, None without rollouts unless it is known without. Raises InputError for
    biased fractions.
    """
    return _values(estimates, "a soft value")


def smoothed(estimates: Sequence[StepEstimate], a: float) -> tuple[float | None, ...]:
    """The value after each step under a Beta(a, a) prior; a value known without rollouts as it is. Raises
    InputError as `soft` does.
    """
    values = _values(estimates, "a smoothed value")
    return tuple(
        (estimate.n_correct + a) / (estimate.n_rollouts + 2 * a) if estimate.n_rollouts else value
        for estimate, value in zip(estimates, values, strict=True)
    )


def advantage(root: StepEstimate, estimates: Sequence[StepEstimate]) -> tuple[float | None, ...]:
    """V_t - V_{t-1}, where V_{-1} is the value of the prompt; None where one of the two is not known. Raises
    InputError as `soft` does.
    """
    values = soft((root, *estimates))
    return tuple(None if a is None or b is None else b - a for a, b in pairwise(values))


def likelihood(estimates: Sequence[StepEstimate]) -> tuple[tuple[int, int], ...]:
    """(successes, failures) after each step; (0, 0): no rollouts."""
    return tuple((estimate.n_correct, estimate.n_rollouts - estimate.n_correct) for estimate in estimates)


def known_value(estimate: StepEstimate) -> float | None:
    """The value that is known without rollouts: 1 or 0 at the end of a finished solution, one that came with
    the data, None elsewhere and in rows that came without intervals, which do not say it.
    """
    return estimate.low if estimate.method in ("terminal", GIVEN) and estimate.low == estimate.high else None


def cleared(labels: Sequence[bool | None], estimates: Sequence[StepEstimate]) -> tuple[bool | None, ...]:
    """The labels; in a right solution True in place of False at steps of which no rollout happened to
    succeed: the solution itself did.

    A False without rollouts, or where some succeeded and too few for a threshold, stays. So does each of a
    wrong solution: where rollouts succeed after a step of which none did, either may be chance, and a step is
    lost sooner than a lucky rollout is proof.
    """
    is_right = bool(estimates) and estimates[-1].method == "terminal" and known_value(estimates[-1]) == 1
    return tuple(
        True if is_right and label is False and estimate.n_rollouts and not estimate.n_correct else label
        for label, estimate in zip(labels, estimates, strict=True)
    )


def view_labels(labeled: LabeledSolution, view: LabelView) -> tuple[bool | None, ...]:
    """The labels under a view. Raises InputError where counts cannot be compared with the threshold."""
    labels = labeled.labels
    if view.hard_threshold is not None:
        try:
            labels = hard(labeled.estimates, view.hard_threshold)
        except InputError as fault:
            solution = labeled.graded.solution
            raise InputError(f"solution {solution.index} of problem {solution.problem_id}, {fault}") from None
    if labeled.non_monotone and view.non_monotone == "mask":
        return tuple(label if step < _first_wrong(labels) else None for step, label in enumerate(labels))
    if view.until_first_error:
        labels = cleared(labels, labeled.estimates)
        return tuple(label if step <= _first_wrong(labels) else None for step, label in enumerate(labels))
    return labels


def _has_success(estimate: StepEstimate) -> bool | None:
    if estimate.method == "witness":
        return True
    if estimate.n_rollouts:
        return estimate.n_correct > 0
    value = known_value(estimate)
    return None if value is None else value > 0


def _values(estimates: Sequence[StepEstimate], view: str) -> tuple[float | None, ...]:
    for step, estimate in enumerate(estimates):
        if estimate.n_rollouts and estimate.stopping != "fixed":
            raise InputError(
                f"step {step}: {view} needs a fixed number of rollouts, got stopping {estimate.stopping!r}, "
                "whose n_correct / n_rollouts "
                "is biased; expected labels of method every_step with stopping fixed, or hard labels, or the "
                "likelihood"
            )
    return tuple(e.n_correct / e.n_rollouts if e.n_rollouts else known_value(e) for e in estimates)


def _first_wrong(labels: Sequence[bool | None]) -> int:
    return labels.index(False) if False in labels else len(labels)
