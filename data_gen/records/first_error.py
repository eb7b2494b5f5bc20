"""The first wrong step of a solution: read from labels, turned into labels, and how well two sources agree on
it.

Counted from 0; NO_ERROR (-1) where every step is right, as in ProcessBench; None where the labels leave it
open.
"""

from collections.abc import Sequence
from dataclasses import dataclass

NO_ERROR = -1


def first_error(labels: Sequence[bool | None]) -> int | None:
    """The first False before which every label is True; NO_ERROR if all are True; None if a step without a
    label comes before either.
    """
    for step, label in enumerate(labels):
        if label is None:
            return None
        if not label:
            return step
    return NO_ERROR if labels else None


def labels_of(error: int, n_steps: int) -> tuple[bool | None, ...]:
    """True before the first error, False at it, None after it (what follows an error has no defined label).
    Raises ValueError.
    """
    if not NO_ERROR <= error < n_steps:
        raise ValueError(
            f"first error: got {error} for {n_steps} steps, expected {NO_ERROR} (none) or 0 to {n_steps - 1}"
        )
    if error == NO_ERROR:
        return (True,) * n_steps
    return tuple(True if step < error else False if step == error else None for step in range(n_steps))


@dataclass(frozen=True)
class FirstErrorF1:
    """Agreement on first errors. An accuracy over no solution is None, and then so is f1."""

    n_erroneous: int
    n_correct: int
    accuracy_on_erroneous: float | None
    accuracy_on_correct: float | None
    f1: float | None


def first_error_f1(predicted: Sequence[int | None], expected: Sequence[int]) -> FirstErrorF1:
    """ProcessBench's measure (Zheng et al. 2024): the harmonic mean of the accuracies on solutions with and
    without an error.

    A prediction is right where it names the expected step exactly; an unknown one (None) is wrong. Two
    accuracies of 0 give f1 0. Raises ValueError for lengths that differ and for an expected value below -1.
    """
    if len(predicted) != len(expected):
        raise ValueError(f"{len(predicted)} predictions for {len(expected)} solutions; expected one for each")
    if any(error < NO_ERROR for error in expected):
        raise ValueError(f"expected first errors: got {min(expected)}, the least is {NO_ERROR} (none)")
    pairs = list(zip(predicted, expected, strict=True))
    on_erroneous = [guess == error for guess, error in pairs if error != NO_ERROR]
    on_correct = [guess == error for guess, error in pairs if error == NO_ERROR]
    erroneous = sum(on_erroneous) / len(on_erroneous) if on_erroneous else None
    correct = sum(on_correct) / len(on_correct) if on_correct else None
    f1 = None
    if erroneous is not None and correct is not None:
        f1 = 2 * erroneous * correct / (erroneous + correct) if erroneous + correct else 0.0
    return FirstErrorF1(len(on_erroneous), len(on_correct), erroneous, correct, f1)
