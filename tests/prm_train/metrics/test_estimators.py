import numpy as np
import pytest

from prm_train.metrics.estimators import (
    Interval,
    ReliabilityBin,
    block_accuracy,
    bootstrap_interval,
    difficulty_quintiles,
    expected_calibration_error,
    paired_difference,
    reliability_bins,
    wilson_ends,
    wilson_interval,
)


def test_block_accuracy_averages_over_disjoint_blocks_and_leaves_the_rest():
    draws = [True, False, False, False, True, True, False]
    assert block_accuracy(draws, 1, any) == pytest.approx(3 / 7)
    assert block_accuracy(draws, 2, any) == pytest.approx(2 / 3)  # (T F) (F F) (T T), the seventh is unused
    assert block_accuracy(draws, 3, all) == 0.0  # (T F F) (F T T)
    assert block_accuracy(draws, 7, any) == 1.0


def test_block_accuracy_refuses_more_samples_than_there_are():
    with pytest.raises(ValueError, match="got 3, expected 1 to 2"):
        block_accuracy([True, False], 3, any)


def test_wilson_intervals_by_hand():
    """With z² = 3.8415: for 20 of 20, 1 / (1 + z² / 20) = 0.8389 to 1; for 1 of 2 the half width is
    z √(1 / 8 + z² / 16) / (1 + z² / 2) = 1.96 · 0.60423 / 2.92073.
    """
    all_right = wilson_interval(1.0, 20)
    assert (all_right.mean, all_right.high) == (1.0, 1.0)
    assert all_right.low == pytest.approx(0.83887, abs=1e-5)
    assert wilson_interval(0.0, 20).high == pytest.approx(1 - 0.83887, abs=1e-5)
    assert wilson_interval(0.5, 2).low == pytest.approx(0.5 - 0.40547, abs=1e-4)
    with pytest.raises(ValueError, match="share in"):
        wilson_interval(0.5, 0)
    # of one side, z is 1.644854, its square 2.705543: (0.8 + 0.135277 - 1.644854 · 0.150877) / 1.270554
    assert wilson_ends(0.8, 10, 1.644854)[0] == pytest.approx(0.540793, abs=1e-5)
    assert wilson_ends(0.0, 10, 1.644854)[0] == 0.0


def test_problems_that_all_agree_do_not_make_an_interval_a_point():
    rng = np.random.default_rng(0)
    right, wrong = bootstrap_interval(np.ones(20), rng), bootstrap_interval(np.zeros(20), rng)
    assert (right.low, right.high) == pytest.approx((wilson_interval(1.0, 20).low, 1.0))
    assert (wrong.low, wrong.high) == pytest.approx((0.0, wilson_interval(0.0, 20).high))
    # a share of up to 0.16113 of the problems could be 0 or 1 instead of 0.75
    part = bootstrap_interval(np.full(20, 0.75), rng)
    assert (part.low, part.high) == pytest.approx((0.75 * 0.83887, 0.75 + 0.25 * 0.16113), abs=1e-5)
    # no problem of 20 differs: up to 0.16113 could, in either direction
    same = paired_difference(np.ones(20), np.ones(20), rng)
    assert (same.mean, same.low, same.high) == pytest.approx((0.0, -0.16113, 0.16113), abs=1e-5)
    assert same.direction == 0
    assert paired_difference(np.ones(20), np.zeros(20), rng).low == pytest.approx(1 - 2 * 0.16113, abs=1e-5)


def test_bootstrap_interval_agrees_with_the_normal_approximation():
    interval = bootstrap_interval(np.repeat([0.0, 1.0], 200), np.random.default_rng(0))
    assert interval.mean == 0.5
    assert interval.low == pytest.approx(0.5 - 1.96 * 0.5 / 20, abs=0.005)  # standard error 0.5 / sqrt(400)
    assert interval.high == pytest.approx(0.5 + 1.96 * 0.5 / 20, abs=0.005)


def test_bootstrap_interval_is_a_function_of_the_seed():
    values = np.arange(10) / 10
    assert bootstrap_interval(values, np.random.default_rng(3)) == bootstrap_interval(
        values, np.random.default_rng(3)
    )


def test_bootstrap_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(1)
    intervals = [bootstrap_interval(rng.random(100) < 0.3, rng, n_resamples=500) for _ in range(300)]
    coverage = np.mean([interval.low <= 0.3 <= interval.high for interval in intervals])
    assert 0.91 <= coverage <= 0.98  # standard error of the coverage .013


def test_paired_difference_is_narrower_than_two_separate_intervals():
    baseline = np.repeat([0.0, 1.0], 50)
    method = baseline.copy()
    method[:10] = 1.0  # ten problems gained, none lost
    interval = paired_difference(method, baseline, np.random.default_rng(0))
    assert interval.mean == pytest.approx(0.1)
    assert interval.direction == 1
    assert interval.high - interval.low < 0.14  # 2 * 1.96 * 0.03; unpaired it would be 0.27


def test_direction_says_what_a_difference_shows():
    assert Interval(0.1, 0.01, 0.2).direction == 1
    assert Interval(-0.1, -0.2, -0.01).direction == -1
    assert Interval(0.1, -0.01, 0.2).direction == 0
    assert Interval(0.1, 0.0, 0.2).direction == 0  # an end at 0 is not above it


def test_bad_values_are_refused_by_name():
    with pytest.raises(ValueError, match="1 of 2 are NaN"):
        bootstrap_interval([1.0, float("nan")], np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"got 0.0 to 7.0, expected them in \[0.0, 1.0\]"):
        bootstrap_interval([0.0, 7.0], np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\)"):
        paired_difference([1, 2], [1, 2, 3], np.random.default_rng(0))
    with pytest.raises(ValueError, match="low <= high"):
        Interval(0.5, 0.6, 0.4)
    with pytest.raises(ValueError, match="finite"):
        Interval(float("nan"), 0.0, 1.0)


def test_quintiles_run_from_easiest_to_hardest_and_split_ties_by_index():
    assert difficulty_quintiles([0.1, 0.9, 0.5, 0.3, 0.7]).tolist() == [4, 0, 2, 3, 1]
    assert difficulty_quintiles([0.5] * 10).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert np.bincount(difficulty_quintiles(np.linspace(0, 1, 12))).tolist() == [3, 2, 3, 2, 2]


def test_quintiles_refuse_what_cannot_be_binned():
    with pytest.raises(ValueError, match="at least 5"):
        difficulty_quintiles([0.1, 0.2])
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\]"):
        difficulty_quintiles([0.1, 0.2, 0.3, 0.4, 1.5])


def test_reliability_bins_by_hand():
    low, high = reliability_bins([0.125, 0.25, 0.5, 0.75, 1.0], [False, True, True, True, False], n_bins=2)
    assert low == ReliabilityBin(0.1875, 0.5, 2)
    assert high == ReliabilityBin(0.75, 2 / 3, 3)
    assert expected_calibration_error([low, high]) == pytest.approx((2 * 0.3125 + 3 * (0.75 - 2 / 3)) / 5)


def test_reliability_bins_leave_out_empty_bins():
    assert reliability_bins([1.0, 1.0], [True, False]) == (ReliabilityBin(1.0, 0.5, 2),)
