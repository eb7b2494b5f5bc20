"""What a second attempt is worth, in SCoRe's measures (Kumar et al. 2024, section 3): accuracy of both
attempts, their difference, and the shares of problems that become right and that become wrong.

    delta = accuracy_2 - accuracy_1 = incorrect_to_correct - correct_to_incorrect

Shares are of all chains. A verdict that is unknown counts as not correct: an attempt without an answer solved
nothing; how many there were stands beside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_gen.records.verdicts import Verdict
from prm_train.metrics.estimators import Interval, bootstrap_interval

Pair = tuple[Verdict, Verdict]
MEASURES = ("accuracy_1", "accuracy_2", "delta", "incorrect_to_correct", "correct_to_incorrect")


@dataclass(frozen=True)
class SelfCorrection:
    """Means over problems with 95 % intervals; `n_unknown` of the attempts had no verdict."""

    n_problems: int
    n_unknown: int
    accuracy_1: Interval
    accuracy_2: Interval
    delta: Interval
    incorrect_to_correct: Interval
    correct_to_incorrect: Interval


def problem_values(chains: Sequence[Sequence[Pair]]) -> dict[str, NDArray[np.float64]]:
    """By measure its mean over the chains of each problem."""
    right = [np.array([[v.is_correct for v in pair] for pair in group], dtype=float) for group in chains]
    by_measure = {
        "accuracy_1": [each[:, 0].mean() for each in right],
        "accuracy_2": [each[:, 1].mean() for each in right],
        "delta": [(each[:, 1] - each[:, 0]).mean() for each in right],
        "incorrect_to_correct": [(each[:, 1] > each[:, 0]).mean() for each in right],
        "correct_to_incorrect": [(each[:, 1] < each[:, 0]).mean() for each in right],
    }
    return {name: np.array(values) for name, values in by_measure.items()}


def bounds_of(measure: str) -> tuple[float, float]:
    """Between which its values lie: all but delta are shares."""
    return (-1.0, 1.0) if measure == "delta" else (0.0, 1.0)


def self_correction(chains: Sequence[Sequence[Pair]]) -> SelfCorrection:
    """Of the verdicts on both attempts of each chain, by problem. Raises ValueError without a problem."""
    intervals = {
        name: bootstrap_interval(values, np.random.default_rng(0), bounds=bounds_of(name))
        for name, values in problem_values(chains).items()
    }
    n_unknown = sum(verdict.is_unknown for group in chains for pair in group for verdict in pair)
    return SelfCorrection(len(chains), n_unknown, **intervals)
