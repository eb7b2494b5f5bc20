"""Measures that several benchmarks share, their intervals, and the results that a benchmark leaves.

Problems are what is resampled: solutions of one problem are no independent evidence.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_gen.files.stored_record import StoredRecord
from prm_train.metrics.estimators import N_RESAMPLES, Interval, interval_of_equal_values

Places = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """`measures` are as JSON holds them, or dataclasses of such; `predictions` hold one row a solution."""

    measures: Mapping[str, Any]
    predictions: Sequence[Mapping[str, Any]]
    table: str


@dataclass(frozen=True)
class BenchmarkResult(StoredRecord):
    """metrics.json. `n_measured` counts solutions (a row of PRMBench may hold two), pairs, or sets of
    candidates; `skipped` names the rows that were left out, and why.
    """

    WRITTEN_BY = "`prm-train benchmark`"

    benchmark: str
    rows: tuple[str, ...]
    scorer: str
    scorer_id: str | None
    n_measured: int
    skipped: tuple[str, ...]
    measures: Mapping[str, Any]


class Resamples:
    """Bootstrap resamples of the problems of some rows, the same each time: two measures are resampled
    alike.
    """

    def __init__(self, problems: Sequence[Hashable], seed: int, n: int = N_RESAMPLES) -> None:
        numbers: dict[Hashable, int] = {}
        problem = np.array([numbers.setdefault(each, len(numbers)) for each in problems], dtype=np.int64)
        self._rows = np.argsort(problem, kind="stable")
        self._sizes = np.bincount(problem, minlength=len(numbers))
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._seed, self._n = seed, n

    def of(self, statistic: Callable[[Places], float | None]) -> Floats:
        """(R,) the statistic of the rows of each resample, NaN where it has none."""
        rng, n_problems = np.random.default_rng(self._seed), len(self._sizes)
        found = [statistic(self._places(rng.integers(n_problems, size=n_problems))) for _ in range(self._n)]
        return np.array([np.nan if value is None else value for value in found])

    def interval(self, statistic: Callable[[Places], float | None]) -> Interval | None:
        """The statistic of all rows and its 95 % interval; None where it has no value."""
        return interval(statistic(np.sort(self._rows)), self.of(statistic))

    def mean(self, values: Floats, bounds: tuple[float, float] = (0.0, 1.0)) -> Interval:
        """The mean of a value in `bounds` a row (N,), and its 95 % interval; where all values are equal,
        `interval_of_equal_values`.
        """
        mean = float(values.mean())
        if values.min() == values.max():
            return interval_of_equal_values(mean, len(self._sizes), bounds)
        found = interval(mean, self.of(lambda places: float(values[places].mean())))
        assert found is not None
        return found

    def _places(self, drawn: Places) -> Places:
        sizes = self._sizes[drawn]
        before = np.cumsum(sizes) - sizes
        return self._rows[np.repeat(self._starts[drawn] - before, sizes) + np.arange(sizes.sum())]


def interval(value: float | None, draws: Floats) -> Interval | None:
    """The 95 % percentile interval of the resamples that have a value, widened to hold `value` itself."""
    if value is None:
        return None
    known = draws[~np.isnan(draws)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (value, value)
    return Interval(value, min(float(low), value), max(float(high), value))


def f1(n_true: float, n_false: float, n_missed: float) -> float | None:
    """The harmonic mean of precision and recall from true positives, false positives and false negatives;
    None where there is none of them.
    """
    total = 2 * n_true + n_false + n_missed
    return 2 * n_true / total if total else None


def step_counts(is_good: ArrayLike, is_judged_good: ArrayLike) -> NDArray[np.int64]:
    """(4,) good steps judged good, wrong ones judged good, wrong ones judged wrong, good ones judged
    wrong.
    """
    good, judged = np.asarray(is_good, dtype=bool), np.asarray(is_judged_good, dtype=bool)
    return np.array(
        [(good & judged).sum(), (~good & judged).sum(), (~good & ~judged).sum(), (good & ~judged).sum()]
    )


def f1_good(counts: NDArray[np.int64]) -> float | None:
    """The F1 of good steps, from `step_counts`."""
    return f1(float(counts[0]), float(counts[1]), float(counts[3]))


def f1_wrong(counts: NDArray[np.int64]) -> float | None:
    """The F1 of wrong steps (PRMBench's negative F1)."""
    return f1(float(counts[2]), float(counts[3]), float(counts[1]))


def percent(found: Interval | None, width: int = 7) -> str:
    """`   71.4   66.1 to 76.0`, or that it has no value."""
    if found is None:
        return f"{'–':>{width}}   undefined"
    return f"{100 * found.mean:>{width}.1f}   {100 * found.low:.1f} to {100 * found.high:.1f}"


def share(value: float | None, width: int) -> str:
    return f"{'–':>{width}}" if value is None else f"{100 * value:>{width}.1f}"
