"""How good scores are against labels: ranking (AUROC), probability (Brier, calibration), and both within a problem."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


def auroc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Probability that a random positive outscores a random negative, ties counting one half; None if either kind is missing."""
    values, is_positive = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    n_positive = int(is_positive.sum())
    n_negative = len(is_positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return None
    rank_sum = _average_ranks(values)[is_positive].sum()
    return float((rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def within_problem_auroc(scores: Sequence[float], labels: Sequence[bool], problem_ids: Sequence[Hashable]) -> float | None:
    """Mean over the problems that have both kinds of the AUROC inside the problem; None if no problem has both.

    A scorer that only knows which problems are hard gets 0.5 here, while its AUROC over all solutions may be high.
    """
    by_problem: dict[Hashable, list[tuple[float, bool]]] = defaultdict(list)
    for score, label, problem_id in zip(scores, labels, problem_ids, strict=True):
        by_problem[problem_id].append((score, label))
    areas = [area for pairs in by_problem.values() if (area := auroc(*zip(*pairs, strict=True))) is not None]
    return float(np.mean(areas)) if areas else None


def brier(scores: ArrayLike, targets: ArrayLike) -> float:
    """Mean squared distance of scores and targets, both in [0, 1]; 0.25 for a constant score of one half against hard labels."""
    return float(np.mean((np.asarray(scores, dtype=float) - np.asarray(targets, dtype=float)) ** 2))


@dataclass(frozen=True)
class ReliabilityBin:
    """Scores in [low, high): how many, their mean, and the mean of their targets (equal in a calibrated scorer)."""

    low: float
    high: float
    n_scores: int
    mean_score: float
    mean_target: float


def reliability_bins(scores: ArrayLike, targets: ArrayLike, n_bins: int = 10) -> list[ReliabilityBin]:
    """Bins of equal width over [0, 1] (1 belongs to the last), without those that hold no score."""
    values, wanted = np.asarray(scores, dtype=float), np.asarray(targets, dtype=float)
    places = np.minimum((values * n_bins).astype(int), n_bins - 1)
    bins = []
    for place in np.unique(places):
        inside = places == place
        means = float(values[inside].mean()), float(wanted[inside].mean())
        bins.append(ReliabilityBin(place / n_bins, (place + 1) / n_bins, int(inside.sum()), *means))
    return bins


def expected_calibration_error(scores: ArrayLike, targets: ArrayLike, n_bins: int = 10) -> float:
    """Mean distance of score and target over the reliability bins, weighted by their scores (Naeini et al. 2015)."""
    bins = reliability_bins(scores, targets, n_bins)
    n_scores = sum(each.n_scores for each in bins)
    return sum(each.n_scores * abs(each.mean_score - each.mean_target) for each in bins) / n_scores


def _average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last_ranks = np.cumsum(counts)
    return (last_ranks - (counts - 1) / 2)[places]
