"""How good scores are against labels: order (AUROC, also within a problem), distance (Brier, likelihood) and
where the first error is.

Arrays of all places at once, no loop over them. Calibration error: `prm_train.metrics.estimators`.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_gen.records.first_error import NO_ERROR

Floats = NDArray[np.float64]


def auroc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Probability that a random positive outscores a random negative, ties counting one half; None if either
    kind is missing.
    """
    values, is_positive = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    n_positive = int(is_positive.sum())
    n_negative = len(is_positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return None
    rank_sum = _average_ranks(values)[is_positive].sum()
    return float((rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def within_problem_auroc(
    scores: ArrayLike, labels: ArrayLike, problem_ids: Sequence[Hashable]
) -> float | None:
    """Mean over the problems that have both kinds of the AUROC inside the problem; None if no problem has
    both.

    A scorer that only knows which problems are hard gets 0.5 here, while its AUROC over all solutions may be
    high.
    """
    n_ordered, n_pairs = _pairs_by_problem(scores, labels, problem_ids)
    has_both = n_pairs > 0
    return float((n_ordered[has_both] / n_pairs[has_both]).mean()) if has_both.any() else None


def pair_accuracy(scores: ArrayLike, labels: ArrayLike, problem_ids: Sequence[Hashable]) -> float | None:
    """Share of the pairs of a positive and a negative of one problem in the right order, ties counting one
    half; None without pairs.

    Every pair counts one, so problems with many pairs weigh more than in `within_problem_auroc`.
    """
    n_ordered, n_pairs = _pairs_by_problem(scores, labels, problem_ids)
    return float(n_ordered.sum() / n_pairs.sum()) if n_pairs.any() else None


def brier(scores: ArrayLike, targets: ArrayLike) -> float:
    """Mean squared distance of scores and targets, both in [0, 1]; 0.25 for a constant score of one half
    against hard labels.
    """
    return float(np.mean((np.asarray(scores, dtype=float) - np.asarray(targets, dtype=float)) ** 2))


def brier_noise_floor(n_correct: ArrayLike, n_rollouts: ArrayLike) -> float:
    """The Brier score that the true values p would have against the shares c / n of a fixed number of
    rollouts: the mean of p (1 - p) / n.

    Estimated without bias as the mean of (c / n) (1 - c / n) / (n - 1). Raises ValueError where there are
    fewer than two rollouts.
    """
    n = np.asarray(n_rollouts, dtype=float)
    if not n.size or n.min() < 2:
        raise ValueError(
            f"n_rollouts: got {n.min() if n.size else 'none'}, expected at least 2 at each place"
        )
    share = np.asarray(n_correct, dtype=float) / n
    return float(np.mean(share * (1 - share) / (n - 1)))


def log_loss(logits: ArrayLike, targets: ArrayLike, weights: ArrayLike = 1.0) -> float:
    """Mean negative log-likelihood in nats of targets in [0, 1] under the sigmoids of `logits`."""
    z, t = np.asarray(logits, dtype=float), np.asarray(targets, dtype=float)
    return float(np.average(np.logaddexp(0, z) - t * z, weights=np.broadcast_to(weights, z.shape)))


def sigmoid(logits: ArrayLike) -> Floats:
    """Without overflow."""
    z = np.asarray(logits, dtype=float)
    return np.exp(-np.logaddexp(0, -z))


# --- the first error


def predicted_error(scores: Sequence[float], threshold: float) -> int:
    """The first place whose score is below the threshold, NO_ERROR if there is none."""
    return next((place for place, score in enumerate(scores) if score < threshold), NO_ERROR)


def right_between(scores: Sequence[float], error: int) -> tuple[float, float]:
    """(low, high): the first error is found at place `error` by each threshold t with low < t <= high, and by
    no other (low >= high: none).

    All steps before it must reach t and its own score must not; where there is no error (NO_ERROR), all steps
    must.
    """
    if error == NO_ERROR:
        return -np.inf, min(scores, default=np.inf)
    return scores[error], min(scores[:error], default=np.inf)


def best_threshold(
    bounds: Sequence[tuple[float, float]], is_erroneous: Sequence[bool]
) -> tuple[float, float] | None:
    """(threshold, F1): the highest F1 of ProcessBench that a threshold in [0, 1] can have, exactly, for
    bounds of `right_between`.

    The F1 changes only where a bound lies, so one threshold between each two bounds is enough; of equally
    good ones the nearest to 0.5. None unless there are solutions with an error and without.
    """
    kind = np.asarray(is_erroneous, dtype=bool)
    if not kind.any() or kind.all():
        return None
    ends = np.asarray(bounds, dtype=float)
    edges = np.unique(np.concatenate([np.clip(ends, 0, 1).ravel(), [0.0, 1.0]]))
    candidates = np.concatenate([[0.0, 0.5], (edges[1:] + edges[:-1]) / 2])
    found = f1_at(candidates, ends, kind)
    best = np.flatnonzero(found == found.max())
    nearest = best[np.argmin(np.abs(candidates[best] - 0.5))]
    return float(candidates[nearest]), float(found[nearest])


def f1_at(thresholds: ArrayLike, bounds: Floats, is_erroneous: NDArray[np.bool_]) -> Floats:
    """The F1 of ProcessBench (harmonic mean of the accuracies on solutions with and without an error; 0 / 0
    is 0) at each threshold (T,).

    `bounds` are those of `right_between` (N, 2); both kinds of solutions must be there.
    """
    t = np.asarray(thresholds, dtype=float)
    accuracies = []
    for kind in (is_erroneous, ~is_erroneous):
        some = bounds[kind][bounds[kind][:, 0] < bounds[kind][:, 1]]  # the others are right at no threshold
        n_right = np.searchsorted(np.sort(some[:, 0]), t, "left") - np.searchsorted(
            np.sort(some[:, 1]), t, "left"
        )
        accuracies.append(n_right / kind.sum())
    erroneous, correct = accuracies
    total = erroneous + correct
    return 2 * erroneous * correct / np.where(total > 0, total, 1)


def _pairs_by_problem(
    scores: ArrayLike, labels: ArrayLike, problem_ids: Sequence[Hashable]
) -> tuple[Floats, Floats]:
    """For each problem: its pairs of a positive and a negative in the right order (ties count one half), and
    all such pairs.
    """
    values, is_positive = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    if not len(values) == len(is_positive) == len(problem_ids):
        raise ValueError(
            f"{len(values)} scores, {len(is_positive)} labels, {len(problem_ids)} problem ids; expected one "
            "of each a place"
        )
    numbers: dict[Hashable, int] = {}
    problem = np.array([numbers.setdefault(each, len(numbers)) for each in problem_ids], dtype=np.int64)
    counts = np.bincount(problem, minlength=len(numbers))
    _, value_order = np.unique(values, return_inverse=True)
    # Inside each problem
    ranks = _average_ranks(problem * (len(values) + 1) + value_order) - (np.cumsum(counts) - counts)[problem]
    n_positive = np.bincount(problem, is_positive, len(numbers))
    rank_sums = np.bincount(problem, ranks * is_positive, len(numbers))
    return rank_sums - n_positive * (n_positive + 1) / 2, n_positive * (counts - n_positive)


def _average_ranks(values: NDArray[np.generic]) -> Floats:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last_ranks = np.cumsum(counts)
    return np.asarray((last_ranks - (counts - 1) / 2)[places])
