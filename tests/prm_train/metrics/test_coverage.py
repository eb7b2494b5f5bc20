import math
from dataclasses import astuple

import numpy as np
import pytest

from prm_train.metrics.coverage import Form, PowerLaw, coverage, fit_power_law
from prm_train.metrics.estimators import wilson_interval

KS = (1, 2, 4, 8)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def fitted(rates: np.ndarray, form: Form) -> PowerLaw:
    law = fit_power_law(rates, KS, form, rng())
    assert law is not None
    return law


def test_a_curve_that_is_a_power_law_gives_its_law_back():
    log = np.exp(-1.5 * np.array(KS) ** -0.5)
    law = fitted(np.tile(log, (3, 1)), "log")
    assert (law.a.mean, law.b.mean, law.n_points) == pytest.approx((-1.5, -0.5, 4))
    assert law.largest_residual == pytest.approx(0.0, abs=1e-12)
    assert law.at(16) == pytest.approx(math.exp(-1.5 / 4))
    failure = 1 - 0.8 * np.array(KS) ** -0.25
    law = fitted(failure[None], "failure")
    assert (law.a.mean, law.b.mean) == pytest.approx((0.8, -0.25))
    assert law.at(16) == pytest.approx(0.6)


def test_points_without_a_logarithm_are_left_out():
    """pass@k of 1/4, 1/2, 1, 1: 1 - pass@k falls from 3/4 to 2/4 as k doubles, by a factor of 2/3."""
    law = fitted(np.array([[0.25, 0.5, 1.0, 1.0]]), "failure")
    assert (law.a.mean, law.b.mean, law.n_points) == pytest.approx((0.75, math.log2(2 / 3), 2))
    assert fit_power_law(np.array([[0.0, 0.0, 0.5, 1.0]]), KS, "failure", rng()) is None


def test_intervals_of_a_law_cover_what_other_problems_would_give():
    """Problems solved with chance 0.1 or 0.6 by a draw: the interval of 400 holds the law of all of them."""
    chances = np.tile([0.1, 0.6], 200)
    rates = np.array([1 - (1 - chances) ** k for k in KS]).T
    truth = fitted(rates[:2], "log")
    sample = rates[rng().integers(len(rates), size=len(rates))]
    found = fitted(sample, "log")
    assert found.a.low < truth.a.mean < found.a.high
    assert found.b.low < truth.b.mean < found.b.high
    assert found.a.high - found.a.low > 0.05


def test_a_law_has_its_band_beyond_the_curve():
    """Half of the problems follow 1 - pass@k = 0.8 k^-1/2, the others 0.4 k^-1/2: all resamples do with a
    factor between. At k = 1 the mean is 0.4; at 4 times the largest k, 32, it is 1 - 0.6 / sqrt(32).
    """
    ks = np.array(KS, dtype=np.float64)
    rates = 1 - np.repeat([[0.8], [0.4]], 50, axis=0) * ks**-0.5
    band = fitted(rates, "failure").band
    assert list(band) == [1, 2, 4, 8, 16, 32]
    assert (band[1].mean, band[32].mean) == pytest.approx((0.4, 1 - 0.6 / math.sqrt(32)))
    # of 100 problems the share of the first half is 0.5 with a deviation of 0.05, so 1 - 0.6 with one of 0.02
    assert (band[1].low, band[1].high) == pytest.approx((0.4 - 1.96 * 0.02, 0.4 + 1.96 * 0.02), abs=0.004)
    assert band[1].high - band[1].low == pytest.approx((band[32].high - band[32].low) * math.sqrt(32))


def test_coverage_of_draws_by_hand():
    """Of 4 draws one is right, or none: pass@1 is 1/4 and 0, pass@2 1/2 and 0, pass@4 1 and 0."""
    found = coverage([1, 0], 4, (1, 2, 4), rng())
    assert {k: interval.mean for k, interval in found.curve.items()} == {1: 0.125, 2: 0.25, 4: 0.5}
    assert [law.form for law in found.laws] == ["log", "failure"]
    solved = coverage([4, 4], 4, (1, 2, 4), rng())
    assert solved.laws == ()
    assert astuple(solved.curve[1]) == pytest.approx(astuple(wilson_interval(1.0, 2)))


def test_coverage_has_no_largest_number_of_draws():
    """One right draw of 4096 is among 1024 of them with chance 1/4."""
    found = coverage([1, 1], 4096, (1, 1024, 4096), rng())
    assert {k: interval.mean for k, interval in found.curve.items()} == {1: 1 / 4096, 1024: 0.25, 4096: 1.0}
