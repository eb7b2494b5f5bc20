import numpy as np
import pytest

from prm_train.metrics.estimators import bootstrap_interval, wilson_interval
from prm_train.metrics.training_seeds import interval_over_seeds


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_one_seed_has_the_interval_over_its_problems():
    values = rng().random(200) < 0.4
    alone = bootstrap_interval(values, rng())
    for problems in ("own", "shared"):
        found = interval_over_seeds([values], rng(), problems)
        assert found.mean == alone.mean
        assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=0.01)


def test_seeds_that_differ_widen_the_interval_by_their_own_variance():
    """Five seeds whose problems say the same: of means 0.2, 0.4, …, 1.0 each resample is a mean of five, with
    variance 0.08 / 5, so that the ends lie 1.96 · 0.1265 from 0.6.
    """
    seeds = [np.tile([mean, mean], 500) for mean in (0.2, 0.4, 0.6, 0.8, 1.0)]
    for problems in ("own", "shared"):
        found = interval_over_seeds(seeds, rng(), problems)
        assert found.mean == pytest.approx(0.6)
        assert (found.low, found.high) == pytest.approx((0.6 - 0.248, 0.6 + 0.248), abs=0.02)


def test_problems_that_seeds_share_are_drawn_for_all_of_them():
    """Four seeds that solve the same half of 100 problems tell no more of the problems than one does: half
    width 1.96 · 0.05; problems of their own would tell four times as much, half as wide.
    """
    seeds = [np.repeat([0.0, 1.0], 50)] * 4
    shared, own = (interval_over_seeds(seeds, rng(), problems) for problems in ("shared", "own"))
    assert shared.high - shared.low == pytest.approx(2 * 0.098, abs=0.015)
    assert own.high - own.low == pytest.approx(2 * 0.049, abs=0.01)


def test_problems_that_all_agree_and_bad_values():
    own, shared = (interval_over_seeds([np.ones(10)] * 2, rng(), problems) for problems in ("own", "shared"))
    assert own.low == pytest.approx(wilson_interval(1.0, 20).low)
    assert shared.low == pytest.approx(wilson_interval(1.0, 10).low)
    with pytest.raises(ValueError, match="expected the same problems for each seed"):
        interval_over_seeds([np.ones(2), np.ones(3)], rng(), "shared")
    with pytest.raises(ValueError, match="at least one seed"):
        interval_over_seeds([], rng(), "own")
    with pytest.raises(ValueError, match=r"expected numbers in \[0.0, 1.0\]"):
        interval_over_seeds([[0.5, float("nan")]], rng(), "own")
