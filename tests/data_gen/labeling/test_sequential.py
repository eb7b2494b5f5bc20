"""Intervals and the sequential test: values worked by hand, coverage and error rates by simulation."""

import math
import random

import pytest

from data_gen.labeling.sequential import SequentialTest, anytime_interval, clopper_pearson, intersect


@pytest.mark.parametrize(
    ("n_correct", "n", "low", "high"),
    [
        (3, 8, 0.0852, 0.7551),
        (0, 10, 0.0, 0.3085),  # 1 - 0.025^(1/10)
        (10, 10, 0.6915, 1.0),
        (1, 2, 0.0126, 0.9874),  # 1 - sqrt(0.975) and sqrt(0.975)
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_exact_interval_has_its_tabulated_values(n_correct: int, n: int, low: float, high: float):
    assert clopper_pearson(n_correct, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("n_correct", "n", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (1, 1, 0.025, 1.0),  # B(3/2, 1/2) / B(1/2, 1/2) = 1/2, so E(p) = 1 / (2 p) < 20
        (0, 1, 0.0, 0.975),
        (1, 2, (1 - math.sqrt(0.975)) / 2, (1 + math.sqrt(0.975)) / 2),  # E(p) = 1 / (8 p (1 - p)) < 20
        (2, 2, math.sqrt(3 / 160), 1.0),  # E(p) = 3 / (8 p^2) < 20
    ],
)
def test_the_anytime_interval_solves_its_inequality(n_correct: int, n: int, low: float, high: float):
    assert anytime_interval(n_correct, n) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize("function", [clopper_pearson, anytime_interval])
def test_counts_that_cannot_be_are_refused(function):
    with pytest.raises(ValueError, match=r"9 correct of 8 rollouts"):
        function(9, 8)


def test_the_exact_interval_covers_every_value():
    n = 20
    intervals = [clopper_pearson(c, n) for c in range(n + 1)]
    for p in (0.01, 0.05, 0.2, 0.5, 0.77, 0.9, 0.99):
        coverage = sum(
            math.comb(n, c) * p**c * (1 - p) ** (n - c)
            for c, (low, high) in enumerate(intervals)
            if low <= p <= high
        )
        assert coverage >= 0.95


def ever_missed(interval, p: float, rng: random.Random, n: int) -> bool:
    """Whether somebody who looks after every draw could have stopped at an interval without the true
    value.
    """
    n_correct = 0
    for i in range(1, n + 1):
        n_correct += rng.random() < p
        low, high = interval(n_correct, i)
        if not low <= p <= high:
            return True
    return False


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
def test_the_anytime_interval_covers_whenever_one_stops(p: float):
    rng = random.Random(0)
    misses = sum(ever_missed(anytime_interval, p, rng, 80) for _ in range(1500))
    assert misses / 1500 <= 0.05


def test_a_fixed_size_interval_looked_at_after_every_draw_does_not_cover():
    """The fault of adaptive rollouts that stop by an interval made for a fixed number (AMCS)."""
    rng = random.Random(0)
    assert sum(ever_missed(clopper_pearson, 0.5, rng, 80) for _ in range(500)) / 500 > 0.08


def test_an_empty_intersection_keeps_the_earlier_interval():
    assert intersect((0.1, 0.6), (0.4, 0.9)) == (0.4, 0.6)
    assert intersect((0.1, 0.3), (0.4, 0.9)) == (0.1, 0.3)


# Bounds +-ln 19 = 2.944; a success adds ln 6 = 1.792, a failure ln(0.7 / 0.95) = -0.305
TEST = SequentialTest(0.05, 0.30, 0.05, 0.05)


@pytest.mark.parametrize(
    ("n_correct", "n", "decision"),
    [
        (0, 0, None),
        (1, 1, None),
        (2, 2, True),
        (0, 9, None),
        (0, 10, False),
        (1, 16, None),
        (1, 17, False),
        (2, 4, True),
        (2, 5, None),
    ],
)
def test_the_test_decides_at_its_bounds(n_correct: int, n: int, decision: bool | None):
    assert TEST.decide(n_correct, n) is decision


def test_a_test_cut_short_leans_to_the_likelier_side():
    assert TEST.leaning(1, 5)  # 1.792 - 4 * 0.305 > 0
    assert not TEST.leaning(1, 7)  # 1.792 - 6 * 0.305 < 0


@pytest.mark.parametrize(("p", "wrong"), [(0.05, True), (0.30, False)])
def test_the_error_rates_are_those_that_were_asked_for(p: float, wrong: bool):
    rng, n_wrong, n_draws = random.Random(0), 0, 0
    for _ in range(4000):
        n_correct = n = 0
        while (decision := TEST.decide(n_correct, n)) is None:
            n_correct += rng.random() < p
            n += 1
        n_wrong += decision is wrong
        n_draws += n
    assert n_wrong / 4000 <= 0.06
    assert n_draws / 4000 < 15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 0.5, 0.05, 0.05), "expected 0 < p_low < p_high < 1"),
        ((0.1, 0.5, 0.05, 0.6), "expected both between 0 and 0.5"),
    ],
)
def test_a_test_that_cannot_be_is_refused(arguments, message: str):
    with pytest.raises(ValueError, match=message):
        SequentialTest(*arguments)
