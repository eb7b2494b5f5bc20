import numpy as np
import pytest

from prm_train.metrics.many_comparisons import holm_adjusted, sign_flip_p_value


def test_holm_multiplies_the_smallest_by_their_number_and_keeps_the_order():
    # ascending: 0.005 · 4, 0.01 · 3, 0.03 · 2, 0.04 · 1, of which the last must not fall below the third
    assert holm_adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_adjusted([0.9, 0.6]) == [1.0, 1.0]
    assert holm_adjusted([]) == []
    with pytest.raises(ValueError, match=r"p-values: got -0\.1 to 0\.5"):
        holm_adjusted([0.5, -0.1])


def test_sign_flips_of_few_problems_are_all_tried():
    rng = np.random.default_rng(0)
    assert sign_flip_p_value([0.5, 0.5, 0.5, 0.0], rng) == 2 / 8  # all up, all down
    assert sign_flip_p_value([1.0, 1.0, -1.0], rng) == 1.0  # no choice of signs is nearer to 0
    assert sign_flip_p_value([3.0, 1.0, 1.0], rng) == 2 / 8
    assert sign_flip_p_value([3.0, 1.0, -1.0], rng) == 6 / 8  # a sum of 3: 5 and 3 twice, and their opposites
    assert sign_flip_p_value(np.zeros(9), rng) == 1.0


def test_sign_flips_of_many_problems_agree_with_the_normal_approximation():
    """60 up and 40 down: 2 standard errors of 10, p = 0.0574 with the correction for steps of 2."""
    p = sign_flip_p_value(np.repeat([1.0, -1.0], [60, 40]), np.random.default_rng(0))
    assert p == pytest.approx(0.0574, abs=0.006)
    assert sign_flip_p_value(np.ones(60), np.random.default_rng(0)) == 1 / 20_001
    with pytest.raises(ValueError, match="a number for every problem"):
        sign_flip_p_value([float("nan")], np.random.default_rng(0))
