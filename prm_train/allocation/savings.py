"""How much less compute takes one way of searching to another one's accuracy (Snell et al. 2024: four times
less than best-of-N).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prm_train.metrics.difficulty import Floats
from prm_train.metrics.estimators import N_RESAMPLES

Ints = NDArray[np.int64]
Where = Literal["inside", "above", "below"]
WHERE: Mapping[int, Where] = MappingProxyType({-1: "below", 0: "inside", 1: "above"})


@dataclass(frozen=True)
class Saving:
    """The compute that a baseline needs for the accuracy of a method, over that of the method; with a 95 %
    percentile bootstrap interval over problems.

    `where`: `above` if the baseline does not reach the accuracy at all, however much it was given: the factor
    counts its largest cost, and is larger in truth. `below` if its least cost reaches it: the factor counts
    that, and is smaller in truth. `share_above` and `share_below` of the resamples are so.
    """

    factor: float
    low: float
    high: float
    where: Where
    share_above: float
    share_below: float


def cost_to_reach(accuracy: Floats, costs: Floats, accuracies: Floats) -> tuple[Floats, Ints]:
    """Of accuracies (resample,) on curves (resample, point) of ascending costs, and where they lie: -1 below
    a curve, 0 on it, 1 above it.

    Between its points a curve is a line over the logarithm of the cost. Where more compute is worse, whoever
    runs the baseline would stop before: the best so far counts.
    """
    best, rows = np.maximum.accumulate(accuracies, axis=1), np.arange(len(accuracy))
    is_reached = best >= accuracy[:, None]
    last = is_reached.argmax(axis=1)  # the first point that reaches it
    before = np.maximum(last - 1, 0)
    rise = best[rows, last] - best[rows, before]
    share = np.where(rise > 0, (accuracy - best[rows, before]) / np.where(rise > 0, rise, 1.0), 0.0)
    logs = np.log(costs)
    between = np.exp(logs[rows, before] + share * (logs[rows, last] - logs[rows, before]))
    is_above = ~is_reached[:, -1]
    is_below = best[:, 0] > accuracy
    return np.where(is_above, costs[:, -1], between), is_above.astype(np.int64) - is_below.astype(np.int64)


def resample_weights(n_problems: int, seed: int, n_resamples: int = N_RESAMPLES) -> Floats:
    """(resample, problem), each row adding up to 1."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_problems, np.full(n_problems, 1 / n_problems), n_resamples) / n_problems


def saving(
    accuracy: Floats, spent: Floats, curve: Sequence[tuple[Floats, Floats]], weights: Floats
) -> Saving:
    """Of a method with accuracies and costs (problem,) against a curve of baselines, each with the like;
    `weights` are those of `resample_weights`, whose problems method and baseline share.
    """
    whole = np.full((1, len(accuracy)), 1 / len(accuracy))
    weights = np.concatenate([whole, weights])
    reached, paid = weights @ accuracy, weights @ spent
    rights = np.stack([weights @ right for right, _ in curve], axis=1)
    costs = np.stack([weights @ cost for _, cost in curve], axis=1)
    order = np.argsort(costs, axis=1, kind="stable")
    costs, rights = (np.take_along_axis(each, order, axis=1) for each in (costs, rights))
    needed, places = cost_to_reach(reached, costs, rights)
    factors = needed / paid
    low, high = np.percentile(factors[1:], [2.5, 97.5])
    shares = [float((places[1:] == place).mean()) for place in (1, -1)]
    return Saving(float(factors[0]), float(low), float(high), WHERE[int(places[0])], *shares)
