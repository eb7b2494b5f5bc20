"""Expected accuracy of selections among k of n draws that write few texts, for tens of thousands of draws:
what `prm_train.metrics.subsets` computes for a thousand.

A problem's draws are given by text: how many of the draws wrote it, and what counts of it. The best of k is
exact; a vote is the mean over random subsets, drawn without replacement, whose number sets its error. Every
order of the draws counts alike, so a tie, which goes to the earliest draw, is shared.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def log_share_without(n: int, n_marked: ArrayLike, k: int) -> Floats:
    """The logarithm of the share of the subsets of `k` of `n` draws that hold none of `n_marked`: of
    C(n - n_marked, k) / C(n, k). -inf where there is none.
    """
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    others = n - np.asarray(n_marked, dtype=np.int64)
    rest = np.maximum(others - k, 0)
    logs = log_factorial[others] - log_factorial[rest] - log_factorial[n] + log_factorial[n - k]
    found: Floats = np.where(others < k, -np.inf, logs)
    return found


def best_of_repeated(
    counts: Sequence[int], scores: Sequence[float | None], is_correct: Sequence[bool], k: int
) -> float:
    """Chance that the draw with the highest score among `k` is right, of texts (T,); None as a score keeps a
    text out. Exact but for rounding (about 1e-9).
    """
    n = _check(counts, k)
    scored = [i for i, score in enumerate(scores) if score is not None]
    if any(math.isnan(scores[i] or 0.0) for i in scored):
        raise ValueError("scores: got nan, expected a number or None for each text")
    if not scored:
        return 0.0
    count = np.array([counts[i] for i in scored], dtype=np.int64)
    right = count * np.array([is_correct[i] for i in scored])
    # Texts with one score are a group, the highest first
    values, group = np.unique([-(scores[i] or 0.0) for i in scored], return_inverse=True)
    size, n_right = (np.bincount(group, weights, len(values)) for weights in (count, right))
    n_up_to = np.cumsum(size).astype(np.int64)
    none_up_to = np.exp(log_share_without(n, n_up_to, k))
    leads = np.concatenate([[1.0], none_up_to[:-1]]) - none_up_to
    return float((leads * n_right / size).sum())


def random_subsets(counts: Sequence[int], k: int, n_subsets: int, rng: np.random.Generator) -> Ints:
    """How many draws of each text are among `k` of all, in subsets (S, T) drawn at random; a single one where
    `k` is all of them.
    """
    n = _check(counts, k)
    if k == n:
        return np.array([counts], dtype=np.int64)
    drawn: Ints = rng.multivariate_hypergeometric(counts, k, size=n_subsets, method="count")
    return drawn


def vote_of_repeated(
    subsets: Ints, answers: Sequence[str | None], weights: Sequence[float], is_correct: Sequence[bool]
) -> Floats:
    """For each subset (S, T) of `random_subsets` the chance that the answer with the highest sum of weights
    is right; None as an answer keeps a text out.

    Weights that are whole numbers give exact sums, and so exact ties. Raises ValueError for a weight below 0.
    """
    drawn_texts = np.flatnonzero(subsets.sum(axis=0)).tolist()  # of few draws most are in no subset
    voting = [i for i in drawn_texts if answers[i] is not None]
    if any(not 0 <= weights[i] < math.inf for i in voting):
        raise ValueError(f"weights: got {min(weights)} to {max(weights)}, expected each to be 0 or more")
    if not voting:
        return np.zeros(len(subsets))
    names = sorted({str(answers[i]) for i in voting})
    place = {name: column for column, name in enumerate(names)}
    order = sorted(voting, key=lambda i: place[str(answers[i])])  # the texts of an answer side by side
    starts = np.searchsorted([place[str(answers[i])] for i in order], np.arange(len(names)))
    drawn = subsets[:, order]
    right = np.array([is_correct[i] for i in order])
    sums, n_voters, n_right = (
        np.add.reduceat(drawn * each, starts, axis=1)
        for each in (np.array([weights[i] for i in order], dtype=np.float64), 1, right)
    )
    sums = np.where(n_voters > 0, sums, -1.0)  # who is not there does not even tie
    leads = sums == sums.max(axis=1, keepdims=True)
    # The earliest of the voters of all leading answers decides
    n_leading = (n_voters * leads).sum(axis=1)
    found: Floats = (n_right * leads).sum(axis=1) / np.maximum(n_leading, 1)
    return found


def _check(counts: Sequence[int], k: int) -> int:
    n = sum(counts)
    if min(counts, default=0) < 0 or not 1 <= k <= n:
        raise ValueError(f"k: got {k} of {n} draws, expected 1 to {n}, and no count below 0")
    return n
