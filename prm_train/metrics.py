"""How good scores are against labels: ranking (AUROC, also within a problem) and distance (Brier). Calibration: estimators.py."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

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


def _average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last_ranks = np.cumsum(counts)
    return (last_ranks - (counts - 1) / 2)[places]
