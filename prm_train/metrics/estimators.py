"""Estimates over problems and their uncertainty: pure functions of arrays that hold one value a problem.

The problem is the unit of resampling everywhere. Draws from one problem are not independent pieces of
evidence, so an interval over draws would be too narrow; two methods run on the same problems are compared by
the difference within each problem, which removes the large variance between easy and hard problems.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

N_RESAMPLES = 2000
N_QUINTILES = 5
Z_95 = 1.959964  # 97.5 % of a normal distribution lie below it
T = TypeVar("T")


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its 95 % interval, in the same unit. Raises ValueError unless all are finite and
    low <= high.
    """

    mean: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if (
            not all(math.isfinite(value) for value in (self.mean, self.low, self.high))
            or self.low > self.high
        ):
            raise ValueError(
                f"Interval({self.mean}, {self.low}, {self.high}): expected finite numbers with low <= high"
            )

    @property
    def direction(self) -> int:
        """+1 if the whole interval lies above 0, -1 if it lies below, 0 if it holds 0: what a difference
        shows.
        """
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class ReliabilityBin:
    """Scores that fell into one bin: their mean, the share of them whose outcome was right, and how many they
    are.
    """

    mean_score: float
    share_correct: float
    count: int


def block_accuracy(candidates: Sequence[T], n: int, is_solved: Callable[[Sequence[T]], bool]) -> float:
    """Accuracy of a method at `n` samples on one problem, from M >= n draws: the mean over the M // n
    disjoint blocks of `n` draws.

    Unbiased for any method that looks at nothing but its block, at 1 / (M // n) of the variance of one block;
    draws past the last full block are not used. Raises ValueError if `n` is below 1 or there are fewer than
    `n` candidates.
    """
    if not 1 <= n <= len(candidates):
        raise ValueError(f"n: got {n}, expected 1 to {len(candidates)}, the number of candidates")
    parts = blocks(candidates, n)
    return sum(bool(is_solved(block)) for block in parts) / len(parts)


def blocks(candidates: Sequence[T], n: int) -> list[Sequence[T]]:
    """The M // n disjoint blocks of `n` of M candidates, in their order."""
    return [candidates[first : first + n] for first in range(0, len(candidates) - n + 1, n)]


def wilson_ends(share: float, n: int, z: float) -> tuple[float, float]:
    """The ends of the score interval of a share that was observed among `n` independent cases (Wilson 1927),
    `z` standard deviations wide to both sides.
    """
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((share + z**2 / (2 * n) + side) / (1 + z**2 / n) for side in (-half, half))
    # What is 0 or 1 by the formula is so in spite of rounding
    return 0.0 if share == 0 else max(0.0, low), 1.0 if share == 1 else min(1.0, high)


def wilson_interval(share: float, n: int) -> Interval:
    """The 95 % interval of `wilson_ends`.

    Unlike a bootstrap, it is no point where all cases agree: of 20 that are all right, 84 to 100 %. Raises
    ValueError unless `share` is in [0, 1] and there is a case.
    """
    if not 0 <= share <= 1 or n < 1:
        raise ValueError(f"Wilson interval of {share} among {n}: expected a share in [0, 1] and n >= 1")
    return Interval(share, *wilson_ends(share, n, Z_95))


def interval_of_equal_values(value: float, n: int, bounds: tuple[float, float]) -> Interval:
    """The 95 % interval of a mean, where `n` problems all have the same value and any could lie in `bounds`.

    A bootstrap of them is a point, as if no problem could be otherwise. What they do show is that few are:
    a share of at most u, the upper end of Wilson's interval of 0 among n. So the mean lies within that share
    of the way to either bound; where the value is a bound itself, that is Wilson's interval.
    """
    low, high = bounds
    most = wilson_interval(0.0, n).high
    return Interval(value, value - most * (value - low), value + most * (high - value))


def bootstrap_interval(
    values: ArrayLike,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """Mean of `values` (one a problem) and its 95 % percentile bootstrap interval over problems; where all
    values are equal, `interval_of_equal_values`.

    Raises ValueError if `values` is no vector, is empty, or holds a NaN or a value outside `bounds`: the
    caller leaves out problems without a value, and counts them.
    """
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or not vector.size:
        raise ValueError(f"values: got shape {vector.shape}, expected one value a problem")
    if n_missing := int(np.isnan(vector).sum()):
        raise ValueError(f"values: {n_missing} of {vector.size} are NaN, expected a number for every problem")
    if vector.min() < bounds[0] or vector.max() > bounds[1]:
        raise ValueError(f"values: got {vector.min()} to {vector.max()}, expected them in {list(bounds)}")
    if vector.min() == vector.max():
        return interval_of_equal_values(float(vector[0]), vector.size, bounds)
    resamples = rng.integers(vector.size, size=(n_resamples, vector.size), dtype=np.int32)
    low, high = np.percentile(vector[resamples].mean(axis=1), [2.5, 97.5])
    return Interval(float(vector.mean()), float(low), float(high))


def paired_values(method: ArrayLike, baseline: ArrayLike) -> NDArray[np.float64]:
    """`method - baseline` of each problem. Raises ValueError unless both have a value for the same ones."""
    ours, theirs = np.asarray(method, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(
            f"paired difference of shapes {ours.shape} and {theirs.shape}: expected the same problems in both"
        )
    return ours - theirs


def paired_difference(
    method: ArrayLike, baseline: ArrayLike, rng: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> Interval:
    """Mean of `method - baseline` and its bootstrap interval; both hold one value in [0, 1] a problem, for
    the same problems in the same order.
    """
    return bootstrap_interval(paired_values(method, baseline), rng, n_resamples, bounds=(-1.0, 1.0))


def difficulty_quintiles(pass_rates: ArrayLike) -> NDArray[np.int64]:
    """The fifth of the problems that each one falls into by its pass rate (Snell et al. 2024, sec. 3.2): 0
    (easiest) to 4.

    The rates must come from draws that no accuracy is computed from. Binning by the same draws would put
    lucky problems into the easy bins and unlucky ones into the hard bins, and the spread between bins would
    show the noise of the draws. Equal rates are split in order of index; sizes differ by at most one problem.
    Raises ValueError for fewer than five problems or a rate outside [0, 1].
    """
    rates = np.asarray(pass_rates, dtype=np.float64)
    if rates.ndim != 1 or rates.size < N_QUINTILES:
        raise ValueError(
            f"pass_rates: got shape {rates.shape}, expected a vector of at least {N_QUINTILES} problems"
        )
    if not ((rates >= 0) & (rates <= 1)).all():
        raise ValueError(f"pass_rates: got {rates.min()} to {rates.max()}, expected values in [0, 1]")
    quintiles = np.empty(rates.size, dtype=np.int64)
    quintiles[np.argsort(-rates, kind="stable")] = np.arange(rates.size) * N_QUINTILES // rates.size
    return quintiles


def reliability_bins(
    scores: ArrayLike, is_correct: ArrayLike, n_bins: int = 10
) -> tuple[ReliabilityBin, ...]:
    """Scores in [0, 1] against outcomes in `n_bins` bins of equal width; empty bins are left out. A score of
    1 falls into the last bin.
    """
    score, outcome = np.asarray(scores, dtype=np.float64), np.asarray(is_correct, dtype=np.float64)
    if score.ndim != 1 or score.shape != outcome.shape:
        raise ValueError(
            f"scores and outcomes: got shapes {score.shape} and {outcome.shape}, expected two equal vectors"
        )
    if not ((score >= 0) & (score <= 1)).all():
        raise ValueError(f"scores: got {score.min()} to {score.max()}, expected values in [0, 1]")
    bins = np.minimum((score * n_bins).astype(np.int64), n_bins - 1)
    counts = np.bincount(bins, minlength=n_bins)
    score_sums, outcome_sums = np.bincount(bins, score, n_bins), np.bincount(bins, outcome, n_bins)
    return tuple(
        ReliabilityBin(float(score_sums[i] / counts[i]), float(outcome_sums[i] / counts[i]), int(counts[i]))
        for i in np.flatnonzero(counts)
    )


def expected_calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Mean distance between score and observed share over the bins, weighted by their counts (Guo et al.
    2017, eq. 3).
    """
    return sum(b.count * abs(b.mean_score - b.share_correct) for b in bins) / sum(b.count for b in bins)
