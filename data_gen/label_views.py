"""Training targets and figures read from labels and their evidence: None or refused where the evidence does not define them.

`hard` a bool a step, `soft` the value after it, `advantage` what the step added to the value, `likelihood` the counts themselves: weights
for a loss that needs no unbiased fraction. Where a solution first goes wrong: `data_gen.first_error`.
"""

from collections.abc import Sequence
from itertools import pairwise

from data_gen.config import InputError
from data_gen.records import StepEstimate


def hard(estimates: Sequence[StepEstimate], threshold: float = 0.0) -> tuple[bool | None, ...]:
    """Whether the value after each step is above `threshold`: by default whether any rollout succeeded (Math-Shepherd's hard estimation).

    None for a step without evidence, and above threshold 0 for a witnessed one, whose value is only known to be positive. Raises InputError
    for a threshold above 0 where rollouts stopped by what they showed.
    """
    if not 0 <= threshold < 1:
        raise InputError(f"threshold: got {threshold}, expected 0 or more and less than 1")
    labels: list[bool | None] = []
    for step, estimate in enumerate(estimates):
        if estimate.method == "terminal":
            labels.append(estimate.low == 1)
        elif estimate.method == "witness":
            labels.append(True if threshold == 0 else None)
        elif not estimate.n_rollouts:
            labels.append(None)
        else:
            labels.append(estimate.n_correct > 0 if threshold == 0 else _fraction(step, estimate, "hard with a threshold") > threshold)
    return tuple(labels)


def soft(estimates: Sequence[StepEstimate]) -> tuple[float | None, ...]:
    """The value after each step, n_correct / n_rollouts; None without rollouts (a witness says that the value is positive, not what it is).

    After `interval` stopping the fraction is off by up to 0.025 on average, within the interval that the estimate states. Raises InputError
    where rollouts stopped at a success or a decision: their fraction means nothing.
    """
    values: list[float | None] = []
    for step, estimate in enumerate(estimates):
        if estimate.method == "terminal":
            values.append(estimate.low)
        else:
            values.append(_fraction(step, estimate, "soft") if estimate.n_rollouts else None)
    return tuple(values)


def advantage(root: StepEstimate, estimates: Sequence[StepEstimate]) -> tuple[float | None, ...]:
    """V_t - V_{t-1}, where V_{-1} is the value of the prompt; None where one of the two is not known. Raises InputError as `soft` does."""
    values = soft((root, *estimates))
    return tuple(None if a is None or b is None else b - a for a, b in pairwise(values))


def likelihood(estimates: Sequence[StepEstimate]) -> tuple[tuple[int, int], ...]:
    """(successes, failures) after each step, for the loss -(s log v + f log(1 - v)), which no stopping rule biases; (0, 0): no evidence."""
    return tuple((estimate.n_correct, estimate.n_rollouts - estimate.n_correct) for estimate in estimates)


def _fraction(step: int, estimate: StepEstimate, view: str) -> float:
    if estimate.stopping not in ("fixed", "interval"):
        raise InputError(
            f"step {step}: {view} needs a fixed number of rollouts, or stopping by interval; got stopping {estimate.stopping!r}, "
            "whose n_correct / n_rollouts is biased; label with method every_step, or train on hard labels or the likelihood"
        )
    return estimate.n_correct / estimate.n_rollouts
