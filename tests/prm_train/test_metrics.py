import pytest

from prm_train.metrics import auroc, brier, within_problem_auroc


def test_auroc_counts_the_pairs_in_the_right_order():
    # pairs (positive, negative): .8>.3 .8>.6 .5>.3 .5<.6
    assert auroc([0.8, 0.5, 0.3, 0.6], [True, True, False, False]) == 0.75


def test_auroc_counts_a_tie_as_one_half():
    # pairs: .5=.5 → 1/2, .5>.2 → 1, .9>.5 → 1, .9>.2 → 1
    assert auroc([0.5, 0.9, 0.5, 0.2], [True, True, False, False]) == 3.5 / 4


def test_auroc_of_a_constant_score_is_one_half():
    assert auroc([0.3] * 7, [True, False, False, True, False, False, False]) == 0.5


def test_auroc_is_undefined_with_one_kind_of_label():
    assert auroc([0.1, 0.9], [True, True]) is None


def test_within_problem_auroc_ignores_which_problem_is_hard():
    # all scores follow difficulty: globally 3 of 4 pairs are right, inside each problem the order is wrong or tied
    scores = [0.9, 0.95, 0.1, 0.1]
    labels = [True, False, False, True]
    assert within_problem_auroc(scores, labels, ["easy", "easy", "hard", "hard"]) == pytest.approx((0.0 + 0.5) / 2)


def test_within_problem_auroc_leaves_out_problems_with_one_kind():
    assert within_problem_auroc([0.1, 0.2, 0.9, 0.8], [False, False, True, False], ["a", "a", "b", "b"]) == 1.0
    assert within_problem_auroc([0.1, 0.2], [False, False], ["a", "a"]) is None


def test_brier_is_the_mean_squared_distance():
    assert brier([1.0, 0.5], [0.0, 0.25]) == pytest.approx((1 + 0.0625) / 2)
