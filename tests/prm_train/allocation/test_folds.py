"""Choices by hand: which arm each bin gets, that no problem has a part in its own, and what budgets do."""

import numpy as np
import pytest

from prm_train.allocation.folds import (
    Rule,
    Table,
    bin_means,
    choose,
    cross_validated,
    fitted,
    fold_numbers,
)

RATES = np.array([0.9, 0.8, 0.2, 0.1])


def table(accuracy: list[list[float]], cost: list[list[float]]) -> Table:
    right, paid = np.array(accuracy), np.array(cost)
    return Table(right, paid, right, paid)


# Two methods: the first solves the easy problems, the second the hard ones; each costs 1
TWO = table([[1, 0], [1, 0], [0, 1], [0, 1]], [[1, 1]] * 4)


def test_each_bin_gets_the_method_that_solves_it() -> None:
    rule = Rule("quantile", n_bins=2, prior=0.0)
    assert fitted(TWO, RATES, np.ones(4, dtype=bool), rule, 1.0) == ((0.5,), [0, 1])
    # of two folds, each with an easy and a hard problem
    outcome = cross_validated(TWO, RATES, np.array([0, 1, 0, 1]), rule, 1.0)
    assert outcome is not None
    assert outcome.arms.tolist() == [0, 0, 1, 1]
    assert (outcome.accuracy.tolist(), outcome.spent.tolist()) == ([1.0] * 4, [1.0] * 4)
    fixed = cross_validated(TWO, RATES, np.array([0, 1, 0, 1]), Rule(None, prior=0.0), 1.0)
    assert fixed is not None
    assert fixed.accuracy.mean() == 0.5


def test_no_problem_has_a_part_in_what_is_chosen_for_it() -> None:
    """Each method solves one problem and no other: whoever looks at a problem before choosing solves it."""
    own = table(np.eye(4).tolist(), [[1.0] * 4] * 4)
    rule, folds = Rule("quantile", n_bins=4, prior=0.0), np.arange(4)
    peeking = fitted(own, RATES, np.ones(4, dtype=bool), rule, 1.0)
    assert peeking is not None
    assert peeking[1] == [0, 1, 2, 3]
    outcome = cross_validated(own, RATES, folds, rule, 1.0)
    assert outcome is not None
    assert outcome.accuracy.tolist() == [0.0] * 4


def test_edges_between_bins_come_from_other_folds() -> None:
    """Without the last two problems the median is 0.85, with all it is 0.5: the second problem's bin."""
    used = np.array([True, True, False, False])
    chosen = fitted(TWO, RATES, used, Rule("quantile", n_bins=2, prior=0.0), 1.0)
    assert chosen is not None
    assert chosen[0] == pytest.approx((0.85,))


def test_a_budget_for_each_problem_and_one_on_average() -> None:
    """The dear method (3) solves all, the cheap one (1) the easy half. On average 2 pay for both."""
    both = table([[1, 1], [1, 1], [0, 1], [0, 1]], [[1, 3]] * 4)
    bins = np.array([0, 0, 1, 1])
    each, mean = (Rule("quantile", 2, sharing, 0.0) for sharing in ("each", "mean"))
    assert choose(both, bins, 2, each, 2.0) == [0, 0]
    assert choose(both, bins, 2, mean, 2.0) == [0, 1]
    assert choose(both, bins, 2, each, 3.0) == [0, 1]  # of equally accurate ones the cheaper
    assert choose(both, bins, 2, mean, 1.9) == [0, 0]
    assert choose(both, bins, 2, each, 0.9) is None
    assert choose(both, bins, 2, mean, 0.9) is None
    assert cross_validated(both, RATES, np.array([0, 1, 0, 1]), mean, 0.9) is None


def test_a_bin_of_few_problems_is_judged_by_all_of_them_too() -> None:
    values = np.array([[1.0], [0.0], [0.0], [0.0]])
    bins = np.array([0, 1, 1, 1])
    # one of one, and of three further ones a quarter
    assert bin_means(values, bins, 2, 3.0)[:, 0].tolist() == [(1 + 0.75) / 4, 0.75 / 6]
    assert bin_means(values, bins, 3, 0.0)[:, 0].tolist() == [1.0, 0.0, 0.25]  # nobody is in the last one


def test_absolute_bins_without_problems_choose_as_all_problems_do() -> None:
    rule = Rule("absolute", prior=0.0)
    chosen = fitted(TWO, np.array([0.9, 0.85, 0.1, 0.15]), np.ones(4, dtype=bool), rule, 1.0)
    assert chosen == ((0.2, 0.4, 0.6, 0.8), [0, 0, 0, 0, 1])


def test_folds_are_of_equal_size_and_the_same_each_time() -> None:
    folds = fold_numbers(11, 3, 5)
    assert sorted(np.bincount(folds)) == [3, 4, 4]
    assert folds.tolist() == fold_numbers(11, 3, 5).tolist()
    assert folds.tolist() != fold_numbers(11, 3, 6).tolist()
