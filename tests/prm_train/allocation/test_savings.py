"""Compute saved at equal accuracy, on curves small enough to work out by hand."""

from typing import Any

import numpy as np
import pytest

from prm_train.allocation.savings import cost_to_reach, resample_weights, saving

COSTS = np.array([[1.0, 4.0, 16.0]])


def reach(accuracy: float, accuracies: list[float]) -> tuple[Any, int]:
    costs, places = cost_to_reach(np.array([accuracy]), COSTS, np.array([accuracies]))
    return float(costs[0]), int(places[0])


def test_a_curve_is_read_between_its_points_over_the_logarithm_of_the_cost() -> None:
    rising = [0.2, 0.4, 0.8]
    assert reach(0.3, rising) == (pytest.approx(2.0), 0)
    assert reach(0.6, rising) == (pytest.approx(8.0), 0)
    assert reach(0.4, rising) == (pytest.approx(4.0), 0)
    assert reach(0.2, rising) == (pytest.approx(1.0), 0)


def test_outside_of_the_curve_its_ends_count_and_it_is_said() -> None:
    assert reach(0.9, [0.2, 0.4, 0.8]) == (16.0, 1)
    assert reach(0.1, [0.2, 0.4, 0.8]) == (pytest.approx(1.0), -1)


def test_more_compute_that_makes_it_worse_is_not_bought() -> None:
    assert reach(0.5, [0.2, 0.6, 0.4]) == (pytest.approx(np.exp(np.log(4) * 0.75)), 0)
    assert reach(0.7, [0.2, 0.6, 0.4]) == (16.0, 1)


def test_the_factor_of_a_method_with_its_interval() -> None:
    """Each problem like every other: a method that solves 0.6 for 2, where the baseline needs 8."""
    n = 10
    curve = [(np.full(n, right), np.full(n, cost)) for right, cost in ((0.2, 1.0), (0.4, 4.0), (0.8, 16.0))]
    weights = resample_weights(n, 0, 50)
    assert weights.shape == (50, n)
    assert weights.sum(axis=1) == pytest.approx(np.ones(50))
    found = saving(np.full(n, 0.6), np.full(n, 2.0), curve, weights)
    assert (found.factor, found.low, found.high) == pytest.approx((4.0, 4.0, 4.0))
    assert (found.where, found.share_above, found.share_below) == ("inside", 0.0, 0.0)
    above = saving(np.full(n, 0.9), np.full(n, 2.0), curve, weights)
    assert above.factor == pytest.approx(8.0)
    assert (above.where, above.share_above) == ("above", 1.0)


def test_the_interval_is_over_problems_that_method_and_baseline_share() -> None:
    """Half the problems are solved by both at any cost, half by neither: the factor is that of the costs,
    whichever problems are drawn.
    """
    right = np.array([1.0, 0.0] * 8)
    found = saving(right, np.full(16, 2.0), [(right, np.full(16, 6.0))], resample_weights(16, 0, 200))
    assert (found.factor, found.low, found.high) == pytest.approx((3.0, 3.0, 3.0))
