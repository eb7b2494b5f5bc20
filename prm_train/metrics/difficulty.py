"""Difficulty of problems as an estimate of pass@1: fits to known pass rates, and bins.

Bins are numbered from 0, the easiest, on. `metrics.estimators.difficulty_quintiles` sorts known problems into
equal groups; here bins have edges, so that a further problem falls into one of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
PENALTIES = tuple(10.0**power for power in range(-4, 5))
ABSOLUTE_EDGES = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class PassRateFit:
    """A linear estimate of pass@1 from features. `penalty` is that of its ridge regression, per problem."""

    weights: tuple[float, ...]
    bias: float
    penalty: float

    def predict(self, features: ArrayLike) -> Floats:
        """pass@1, in [0, 1], of each problem (problem, feature)."""
        rows = np.asarray(features, dtype=np.float64)
        return np.clip(rows @ np.asarray(self.weights) + self.bias, 0.0, 1.0)


def fit_pass_rates(features: ArrayLike, pass_rates: ArrayLike) -> PassRateFit:
    """Ridge regression of pass rates on features that are scaled to unit variance; the penalty is the one of
    `PENALTIES` with the smallest squared error when each problem is left out in turn.

    Raises ValueError for fewer than three problems, or features and rates of different ones.
    """
    rows, rates = np.asarray(features, dtype=np.float64), np.asarray(pass_rates, dtype=np.float64)
    if rows.ndim != 2 or rates.shape != rows.shape[:1] or len(rates) < 3:
        raise ValueError(
            f"features and pass rates: got shapes {rows.shape} and {rates.shape}, expected a row of features "
            "and a rate for each of at least three problems"
        )
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    scaled = (rows - centre) / np.where(spread > 0, spread, 1.0)
    left, values, right = np.linalg.svd(scaled, full_matrices=False)
    projected = left.T @ (rates - rates.mean())

    def error(penalty: float) -> float:
        shrink = values**2 / (values**2 + penalty * len(rates))
        residuals = rates - rates.mean() - left @ (shrink * projected)
        # How much each rate pulls its own estimate, through the mean and through the weights
        own = 1 / len(rates) + (left**2) @ shrink
        return float(((residuals / np.maximum(1 - own, 1e-9)) ** 2).mean())

    penalty = min(PENALTIES, key=error)
    weights = right.T @ (values / (values**2 + penalty * len(rates)) * projected)
    weights = weights / np.where(spread > 0, spread, 1.0)
    return PassRateFit(tuple(weights.tolist()), float(rates.mean() - centre @ weights), penalty)


def quantile_edges(pass_rates: ArrayLike, n_bins: int) -> tuple[float, ...]:
    """The inner edges, ascending, between which lie equal shares of the problems."""
    shares = np.arange(1, n_bins) / n_bins
    return tuple(float(edge) for edge in np.quantile(np.asarray(pass_rates, dtype=np.float64), shares))


def difficulty_bin(pass_rate: float, edges: Sequence[float]) -> int:
    """0, the easiest, where the rate reaches the highest of the ascending edges; on an edge a problem belongs
    to the easier side.
    """
    return sum(pass_rate < edge for edge in edges)


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float | None:
    """Spearman's: the correlation of ranks, of which equal values share the mean; None where all values of
    one are equal.
    """
    ranks = np.stack([_ranks(np.asarray(values, dtype=np.float64)) for values in (first, second)])
    if (ranks.min(axis=1) == ranks.max(axis=1)).any():
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    found: Floats = (ends - (counts - 1) / 2)[place]
    return found
