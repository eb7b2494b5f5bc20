"""Claims about several seeds, as docs/reproduce_analysis.md judges them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from prm_train.allocation.savings import resample_weights
from prm_train.metrics.estimators import N_RESAMPLES, Interval, bootstrap_interval
from prm_train.metrics.training_seeds import interval_over_seeds

Floats = NDArray[np.float64]
Side = Literal["above", "below"]
Ratio = Callable[[Floats], Floats]  # of weights (resample, problem) the statistic of each resample


@dataclass(frozen=True)
class Claim:
    """`interval` is over all seeds, `seeds` are the mean of each with its own. `unit` says whether they are
    differences of shares or factors.
    """

    words: str
    interval: Interval
    seeds: tuple[Interval, ...]
    holds: bool
    unit: Literal["points", "factor"] = "points"

    def in_words(self, interval: Interval) -> str:
        return points_words(interval) if self.unit == "points" else factor_words(interval)

    def to_json(self) -> dict[str, Any]:
        return {
            "claim": self.words,
            "holds": self.holds,
            **rounded(self.interval),
            "seeds": [rounded(each) for each in self.seeds],
        }


@dataclass(frozen=True)
class Finding:
    """`shows` is None for what was not run. `ours` holds figures beside the claims, for the JSON; `tables`
    are of the page: heads, then rows.
    """

    title: str
    paper: str
    shows: bool | None
    sentence: str
    claims: tuple[Claim, ...] = ()
    ours: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)


def rounded(interval: Interval) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(interval).items()}


def difference_claim(
    words: str, seeds: Sequence[Floats], side: Side, bounds: tuple[float, float] = (-1.0, 1.0)
) -> Claim:
    """That the mean of differences, one a problem of each seed, is above or below 0."""
    return _claim(words, over_seeds(seeds, bounds), [of_seed(each, bounds) for each in seeds], side)


def of_seed(values: Floats, bounds: tuple[float, float] = (0.0, 1.0)) -> Interval:
    return bootstrap_interval(values, np.random.default_rng(0), bounds=bounds)


def over_seeds(seeds: Sequence[Floats], bounds: tuple[float, float] = (0.0, 1.0)) -> Interval:
    return interval_over_seeds(seeds, np.random.default_rng(0), "own", bounds=bounds)


def ratio_claim(words: str, seeds: Sequence[tuple[Ratio, int]], side: Side) -> Claim:
    """The same of statistics that are no means over problems; each with the number of its problems."""
    pooled, each = ratio_intervals(seeds)
    return _claim(words, pooled, each, side)


def _claim(words: str, pooled: Interval, seeds: Sequence[Interval], side: Side) -> Claim:
    sign = 1 if side == "above" else -1
    is_on_side = all(sign * each.mean > 0 for each in seeds)
    return Claim(words, pooled, tuple(seeds), pooled.direction == sign and is_on_side)


def ratio_intervals(seeds: Sequence[tuple[Ratio, int]]) -> tuple[Interval, list[Interval]]:
    """Over all seeds (their mean; seeds are drawn with replacement, then problems), and of each."""
    points, resampled = [], []
    for number, (ratio, n_problems) in enumerate(seeds):
        points.append(float(ratio(np.full((1, n_problems), 1 / n_problems))[0]))
        resampled.append(ratio(resample_weights(n_problems, number)))
    ends = [np.percentile(each, [2.5, 97.5]) for each in resampled]
    each_seed = [
        Interval(mean, float(low), float(high)) for mean, (low, high) in zip(points, ends, strict=True)
    ]
    rng, n = np.random.default_rng(0), len(seeds)
    chosen = rng.integers(n, size=(N_RESAMPLES, n))
    # A resample of its own wherever a seed is drawn: one row may hold a seed twice
    rows = rng.integers(N_RESAMPLES, size=(N_RESAMPLES, n))
    means = np.stack(resampled)[chosen, rows].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(np.mean(points)), float(low), float(high)), each_seed


def share(numerators: Floats, denominators: Floats) -> Ratio:
    """Of sums (problem,) over problems; 0 in resamples that have nothing to share."""

    def ratio(weights: Floats) -> Floats:
        parts, wholes = weights @ numerators, weights @ denominators
        return np.where(wholes > 0, parts / np.where(wholes > 0, wholes, 1.0), 0.0)

    return ratio


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def points_words(interval: Interval) -> str:
    return f"{points(interval.mean)} ({points(interval.low)} to {points(interval.high)})"


def percent_words(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def factor_words(interval: Interval) -> str:
    return f"{interval.mean:.2f} ({interval.low:.2f} to {interval.high:.2f})"
