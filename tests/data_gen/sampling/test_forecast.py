import random
from collections.abc import Callable

import pytest

from data_gen.sampling.forecast import Total, forecast, forecast_text, forecast_total, pilot_positions


def test_the_pilot_is_the_middles_of_equal_parts():
    assert pilot_positions(40, n_pilot=4) == [5, 15, 25, 35]
    assert pilot_positions(7, n_pilot=3) == [1, 3, 5]
    assert pilot_positions(3, n_pilot=4) == [0, 1, 2]
    assert pilot_positions(7000)[:3] == [175, 525, 875]


def test_a_pilot_of_everything_is_the_total_itself():
    assert forecast_total([3.0, 4.0], 2, random.Random(0)) == Total(7.0, 7.0, 7.0)


def test_equal_costs_leave_nothing_uncertain():
    total = forecast_total([5.0] * 20, 1000, random.Random(0))
    assert (total.expected, total.low, total.high) == (5000.0, 5000.0, 5000.0)


def test_the_interval_of_the_rest_has_the_width_of_a_normal_prediction():
    # costs 0 and 2, ten of each: mean 1, standard deviation sqrt(20 / 19) = 1.026. The rest of 1,980 problems
    # is 1,980 plus an error whose standard deviation is 1,980 * 1.026 * sqrt(1 / 20 + 1 / 1980) = 456.5; 90 %
    # of a normal distribution lie within 1.645 of them.
    total = forecast_total([0.0, 2.0] * 10, 2000, random.Random(0))
    assert total.expected == 2000.0
    assert total.high - total.low == pytest.approx(2 * 1.645 * 456.5, rel=0.06)


def test_a_pilot_of_one_problem_says_nothing_of_others():
    with pytest.raises(ValueError, match="a pilot of 1 problems for 5; expected at least 2"):
        forecast_total([3.0], 5, random.Random(0))


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda rng: rng.lognormvariate(6, 0.6), id="lognormal"),
        pytest.param(lambda rng: 9.0 * (rng.random() < 0.3), id="few"),
    ],
)
def test_the_interval_holds_the_true_total_as_often_as_it_says(draw: Callable[[random.Random], float]):
    n_within = 0
    for seed in range(60):
        rng = random.Random(seed)
        costs = [draw(rng) for _ in range(300)]
        total = forecast_total([costs[i] for i in pilot_positions(300)], 300, random.Random(0))
        n_within += total.low <= sum(costs) <= total.high
    # 0.9 is meant; twenty costs of a skewed distribution show its tail too seldom
    assert 0.75 <= n_within / 60 <= 0.98


def test_seconds_follow_the_generated_tokens():
    costs = [{"n_generated": 100.0, "n_labels": 4.0}, {"n_generated": 300.0, "n_labels": 4.0}]
    totals = forecast(costs, 10, seconds_per_token=0.01)
    assert totals["n_labels"] == Total(40.0, 40.0, 40.0)
    assert totals["n_generated"].expected == 2000.0
    assert totals["seconds"].expected == 20.0
    assert totals["seconds"].high == pytest.approx(totals["n_generated"].high * 0.01)
    assert "seconds" not in forecast(costs, 10, seconds_per_token=None)
    assert "labels               40   [40, 40]" in forecast_text(totals, 10)
