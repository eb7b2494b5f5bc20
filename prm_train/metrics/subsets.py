"""Expected accuracy of selections among k of n draws from one problem: the mean over all subsets of k draws,
each in every order, without drawing any of them.

Unbiased for the accuracy at k fresh draws, as a mean over disjoint blocks is, with less noise of the draws.
Every order counts alike, so a tie, which goes to the earliest draw, is shared. Pure functions of one problem;
its draws are given by what counts of them: whether each is right, its score, the answer it votes for.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

MAX_SUMS = 4096  # different votes that the draws of one answer may give, for `vote_at_k` to be exact
MAX_DRAWS = 1000  # numbers of subsets beyond these overflow
Floats = NDArray[np.float64]


def best_at_k(scores: Sequence[float | None], is_correct: Sequence[bool], k: int) -> float:
    """Chance that the draw with the highest score among `k` is right; None as a score keeps a draw out.

    The highest of k is r-th of all n with chance C(n - r, k - 1) / C(n, k); draws with equal scores share
    theirs.
    """
    n = len(scores)
    _check(k, n)
    if any(score is not None and math.isnan(score) for score in scores):
        raise ValueError("scores: got nan, expected a number or None for each draw")
    groups: dict[float, list[bool]] = defaultdict(list)
    for score, right in zip(scores, is_correct, strict=True):
        if score is not None:
            groups[score].append(right)
    expected, n_above = Fraction(0), 0
    for score in sorted(groups, reverse=True):
        group = groups[score]
        n_subsets = math.comb(n - n_above, k) - math.comb(n - n_above - len(group), k)
        expected += Fraction(n_subsets * sum(group), len(group))
        n_above += len(group)
    return float(expected / math.comb(n, k))


@dataclass(frozen=True)
class _Answer:
    """What subsets of the draws of one answer vote together: each combination of size, right ones among them
    and sum of weights, and how many subsets have it. The empty subset is not among them.
    """

    sizes: NDArray[np.int64]  # (S,)
    n_right: NDArray[np.int64]  # (S,)
    sums: Floats  # (S,)
    counts: Floats  # (S,)


def vote_at_k(
    answers: Sequence[str | None], weights: Sequence[float], is_correct: Sequence[bool], k: int
) -> float | None:
    """Chance that the answer with the highest sum of weights among `k` draws is right; with equal weights,
    majority voting. None as an answer keeps a draw out.

    Exact, by dynamic programming over answers: for each vote that the subsets of an answer can give, the
    other answers are put together from their subsets that give less. A majority is always feasible; weights
    that are all different are where no answer has more than `MAX_SUMS` subsets of up to k draws (12 draws
    for large k, 18 for k = 4, 90 for k = 2). Otherwise None. Raises ValueError for a weight below 0.
    """
    _check(k, len(answers))
    if not all(0 <= weight < math.inf for weight in weights):
        raise ValueError(f"weights: got {min(weights)} to {max(weights)}, expected each to be 0 or more")
    draws: dict[str, list[tuple[Fraction, bool]]] = defaultdict(list)
    for answer, weight, right in zip(answers, weights, is_correct, strict=True):
        if answer is not None:
            draws[answer].append((Fraction(weight), right))
    tables = {answer: _votes(own, k) for answer, own in draws.items()}
    known = {answer: table for answer, table in tables.items() if table is not None}
    if len(known) < len(tables):
        return None
    n_silent = sum(answer is None for answer in answers)
    total = sum(
        _wins(table, [each for other, each in known.items() if other != answer], n_silent, k)
        for answer, table in known.items()
        if table.n_right.any()
    )
    return total / math.comb(len(answers), k)


def _votes(draws: Iterable[tuple[Fraction, bool]], k: int) -> _Answer | None:
    """Of the subsets of up to `k` draws; None where they give more than `MAX_SUMS` votes."""
    table: Counter[tuple[int, int, Fraction]] = Counter({(0, 0, Fraction(0)): 1})
    for weight, right in draws:
        for (size, n_right, weighed), count in list(table.items()):
            if size < k:
                table[size + 1, n_right + right, weighed + weight] += count
        if len(table) > MAX_SUMS:
            return None
    del table[0, 0, Fraction(0)]
    # A sum is rounded once, at its end, as `weighted_vote` rounds it: equal votes are equal here
    return _Answer(
        np.array([size for size, _, _ in table]),
        np.array([n_right for _, n_right, _ in table]),
        np.array([float(weighed) for _, _, weighed in table]),
        np.array([float(count) for count in table.values()]),
    )


def _wins(winner: _Answer, others: Sequence[_Answer], n_silent: int, k: int) -> float:
    """In how many subsets of `k` draws an answer wins and the draw that it is read from is right."""
    # By number of voters whose answers have as much as the winner's: how many ways to take so many draws of
    # the others, none of which has more; of each vote of the winner, (S, draws)
    ways = {0: np.zeros((len(winner.sums), k + 1))}
    ways[0][:, 0] = 1.0
    for other in others:
        ways = _with(ways, other, winner.sums, k)
    rest = np.array(
        [
            [math.comb(n_silent, max(k - size - used, 0)) * (size + used <= k) for used in range(k + 1)]
            for size in range(k + 1)
        ],
        dtype=np.float64,
    )[winner.sizes]  # (S, draws)
    found = 0.0
    for n_tied, each in ways.items():
        # The earliest of the voters of all leading answers decides, and of an answer each is as often first
        is_right = winner.n_right / (winner.sizes + n_tied)
        found += float((winner.counts * is_right * (each * rest).sum(axis=1)).sum())
    return found


def _with(ways: dict[int, Floats], other: _Answer, votes: Floats, k: int) -> dict[int, Floats]:
    """With the draws of one more answer, which may give less than `votes` or the same."""
    more = {n_tied: each.copy() for n_tied, each in ways.items()}  # none of its draws
    for size in range(1, min(int(other.sizes.max()), k) + 1):
        own = other.sizes == size
        order = np.argsort(other.sums[own], kind="stable")
        sums, counts = other.sums[own][order], np.append(0.0, np.cumsum(other.counts[own][order]))
        below, up_to = (counts[np.searchsorted(sums, votes, side)] for side in ("left", "right"))
        for n_tied, each in ways.items():
            shifted = each[:, : k + 1 - size]
            more[n_tied][:, size:] += below[:, None] * shifted
            tied = (up_to - below)[:, None] * shifted
            if tied.any():
                more.setdefault(n_tied + size, np.zeros_like(each))[:, size:] += tied
    return more


def _check(k: int, n: int) -> None:
    if not 1 <= k <= n <= MAX_DRAWS:
        raise ValueError(f"k: got {k} of {n} draws, expected 1 to {n}, and at most {MAX_DRAWS} draws")
