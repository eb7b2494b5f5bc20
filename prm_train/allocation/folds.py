"""Choosing an arm for each bin of difficulty on some problems, and what the choice is worth on others.

Everything that is chosen for a problem, the edges of the bins too, comes from problems of other folds. An arm
is judged in a bin by its mean there, drawn towards its mean over all problems as `prior` further problems
would draw it: among many arms and few problems the best of a bin is mostly a lucky one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prm_train.metrics.difficulty import ABSOLUTE_EDGES, Floats, difficulty_bin, quantile_edges
from prm_train.search.allocation import Sharing

Ints = NDArray[np.int64]
Bins = Literal["quantile", "absolute"]
N_PRICES = 200  # of a unit of cost, that are tried to share a budget among bins
EQUAL = 1e-9  # of accuracies that are sums of the same numbers in another order


@dataclass(frozen=True, eq=False)
class Table:
    """Arms on problems, all (problem, arm). Choices are made on `accuracy` and `cost`; on problems that had
    no part in them, `tested` and `spent` say what came of it.
    """

    accuracy: Floats
    cost: Floats
    tested: Floats
    spent: Floats

    def only(self, arms: Sequence[int]) -> "Table":
        return Table(*(each[:, list(arms)] for each in (self.accuracy, self.cost, self.tested, self.spent)))


@dataclass(frozen=True)
class Rule:
    """How arms are chosen. `bins` None is one bin for all problems; `sharing` says whether every problem has
    the budget (`each`), or all of them have it on average (`mean`), so that easy ones leave theirs to hard
    ones.
    """

    bins: Bins | None
    n_bins: int = 5
    sharing: Sharing = "each"
    prior: float = 20.0

    def edges(self, pass_at_1: Floats) -> tuple[float, ...]:
        """Between the bins, from the estimates for the problems that choose."""
        if self.bins is None:
            return ()
        return ABSOLUTE_EDGES if self.bins == "absolute" else quantile_edges(pass_at_1, self.n_bins)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Of a way of choosing on problems that had no part in it, all (problem,): the arm that each got, whether
    it solved it, and what it cost.
    """

    arms: Ints
    accuracy: Floats
    spent: Floats


def fold_numbers(n_problems: int, n_folds: int, seed: int) -> Ints:
    """The fold of each problem (problem,), as equal in size as can be."""
    numbers: Ints = np.random.default_rng(seed).permutation(np.arange(n_problems) % n_folds)
    return numbers


def bins_of(pass_at_1: Floats, edges: Sequence[float]) -> Ints:
    return np.array([difficulty_bin(rate, edges) for rate in pass_at_1], dtype=np.int64)


def bin_means(values: Floats, bins: Ints, n_bins: int, prior: float) -> Floats:
    """Means (bin, arm) of values (problem, arm), drawn towards those of all problems."""
    whole = values.mean(axis=0)
    members = [values[bins == each] for each in range(n_bins)]
    # Without problems of its own, and without a prior, a bin is as all problems are
    return np.array(
        [
            (each.sum(axis=0) + prior * whole) / (len(each) + prior) if len(each) + prior else whole
            for each in members
        ]
    )


def choose(table: Table, bins: Ints, n_bins: int, rule: Rule, budget: float) -> list[int] | None:
    """The arm of each bin, on the problems of a table; None where the budget pays for none in some bin. Of
    equally accurate arms the cheapest is chosen, and of those the first.
    """
    accuracy = bin_means(table.accuracy, bins, n_bins, rule.prior)
    cost = bin_means(table.cost, bins, n_bins, rule.prior)
    if rule.sharing == "each":
        return _within(accuracy, cost, budget)
    shares = np.bincount(bins, minlength=n_bins) / len(bins)
    return _shared(accuracy, cost, shares, budget)


def _within(accuracy: Floats, cost: Floats, budget: float) -> list[int] | None:
    chosen = []
    for right, price in zip(accuracy, cost, strict=True):
        affordable = np.flatnonzero(price <= budget)
        if not affordable.size:
            return None
        chosen.append(_best(right[affordable], price[affordable], affordable))
    return chosen


def _best(worth: Floats, price: Floats, arms: Ints) -> int:
    best = np.flatnonzero(worth >= worth.max() - EQUAL)
    return int(arms[best[np.argmin(price[best])]])


def _shared(accuracy: Floats, cost: Floats, shares: Floats, budget: float) -> list[int] | None:
    """By Lagrange: at each price of a unit of cost every bin takes what is worth most to it; of the choices
    whose mean cost is within the budget the most accurate one.
    """
    prices = np.geomspace(1e-5, 1e5, N_PRICES) / cost.mean()
    net = accuracy - prices[:, None, None] * cost  # (price, bin, arm)
    arms, rows = net.argmax(axis=2), np.arange(len(shares))
    right, paid = (each[rows, arms] @ shares for each in (accuracy, cost))
    within = np.flatnonzero(paid <= budget)
    if not within.size:
        return None
    chosen: list[int] = arms[_best(right[within], paid[within], within)].tolist()
    return chosen


def cross_validated(
    table: Table, pass_at_1: Floats, folds: Ints, rule: Rule, budget: float
) -> Outcome | None:
    """What a rule is worth within a budget a problem; `pass_at_1` are estimates (problem,). None where the
    budget does not pay for it in some fold.
    """
    arms = np.zeros(len(folds), dtype=np.int64)
    for fold in np.unique(folds):
        own = folds == fold
        chosen = fitted(table, pass_at_1, ~own, rule, budget)
        if chosen is None:
            return None
        edges, by_bin = chosen
        arms[own] = np.array(by_bin)[bins_of(pass_at_1[own], edges)]
    rows = np.arange(len(folds))
    return Outcome(arms, table.tested[rows, arms], table.spent[rows, arms])


def fitted(
    table: Table, pass_at_1: Floats, used: NDArray[np.bool_], rule: Rule, budget: float
) -> tuple[tuple[float, ...], list[int]] | None:
    """The edges between bins and the arm of each bin, by the problems `used` (problem,) and no others."""
    edges = rule.edges(pass_at_1[used])
    some = Table(*(each[used] for each in (table.accuracy, table.cost, table.tested, table.spent)))
    by_bin = choose(some, bins_of(pass_at_1[used], edges), len(edges) + 1, rule, budget)
    return None if by_bin is None else (edges, by_bin)
