"""Training seeds as a second source of variance beside the problems: what another training would give."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm_train.metrics.estimators import N_RESAMPLES, Interval, interval_of_equal_values


def interval_over_seeds(
    values: Sequence[ArrayLike],
    rng: np.random.Generator,
    problems: Literal["own", "shared"],
    n_resamples: int = N_RESAMPLES,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """Mean over seeds of the mean over problems, and its 95 % interval by a hierarchical bootstrap: seeds are
    drawn with replacement, then problems.

    `values` holds for each seed one value a problem. `own`: each seed has problems of its own, which are
    drawn within it. `shared`: all seeds have the same problems in the same order, which are drawn once for
    all seeds, since what is hard is hard for each. Of few seeds (below five) the interval is too narrow: a
    bootstrap of s seeds finds (s - 1) / s of their variance; of one seed it is that over problems alone.

    Raises ValueError for no seed, no problem, NaNs, values outside `bounds` or shared problems that are not
    as many.
    """
    seeds = [np.asarray(each, dtype=np.float64) for each in values]
    _check(seeds, bounds, is_shared=problems == "shared")
    every = np.concatenate(seeds)
    if every.min() == every.max():
        n = len(seeds[0]) if problems == "shared" else len(every)
        return interval_of_equal_values(float(every[0]), n, bounds)
    chosen = rng.integers(len(seeds), size=(n_resamples, len(seeds)))
    means = np.empty((n_resamples, len(seeds)))
    if problems == "shared":
        n = len(seeds[0])
        drawn = rng.integers(n, size=(n_resamples, n), dtype=np.int32)
        of_seed = np.stack([seed[drawn].mean(axis=1) for seed in seeds])  # (seeds, resamples)
        means = of_seed[chosen, np.arange(n_resamples)[:, None]]
    else:
        for number, seed in enumerate(seeds):
            places = chosen == number
            drawn = rng.integers(len(seed), size=(int(places.sum()), len(seed)), dtype=np.int32)
            means[places] = seed[drawn].mean(axis=1)
    low, high = np.percentile(means.mean(axis=1), [2.5, 97.5])
    return Interval(float(np.mean([seed.mean() for seed in seeds])), float(low), float(high))


def _check(seeds: Sequence[NDArray[np.float64]], bounds: tuple[float, float], *, is_shared: bool) -> None:
    shapes = [seed.shape for seed in seeds]
    if not seeds or any(len(shape) != 1 or not shape[0] for shape in shapes):
        raise ValueError(f"values: got shapes {shapes}, expected a value a problem for at least one seed")
    if is_shared and len(set(shapes)) > 1:
        raise ValueError(f"values: got shapes {shapes}, expected the same problems for each seed")
    if not all(((seed >= bounds[0]) & (seed <= bounds[1])).all() for seed in seeds):  # NaN is in no bounds
        raise ValueError(f"values: expected numbers in {list(bounds)} for every problem of every seed")
