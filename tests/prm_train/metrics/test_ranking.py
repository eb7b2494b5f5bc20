import numpy as np
import pytest

from data_gen.records.first_error import NO_ERROR, first_error_f1
from prm_train.examples.examples import Example
from prm_train.metrics.ranking import (
    auroc,
    best_threshold,
    brier,
    brier_noise_floor,
    f1_at,
    log_loss,
    pair_accuracy,
    predicted_error,
    right_between,
    sigmoid,
    within_problem_auroc,
)
from prm_train.metrics.validation import outcome_metrics, step_metrics


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


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
    # all scores follow difficulty: globally 3 of 4 pairs are right, inside each problem the order is wrong or
    # tied
    scores = [0.9, 0.95, 0.1, 0.1]
    labels = [True, False, False, True]
    assert within_problem_auroc(scores, labels, ["easy", "easy", "hard", "hard"]) == pytest.approx(
        (0.0 + 0.5) / 2
    )


def test_within_problem_auroc_leaves_out_problems_with_one_kind():
    assert (
        within_problem_auroc([0.1, 0.2, 0.9, 0.8], [False, False, True, False], ["a", "a", "b", "b"]) == 1.0
    )
    assert within_problem_auroc([0.1, 0.2], [False, False], ["a", "a"]) is None


def test_within_problem_auroc_is_the_mean_of_aurocs_inside_the_problems():
    rng = np.random.default_rng(0)
    scores, labels, problems = (
        rng.integers(6, size=300) / 5,
        rng.random(300) < 0.4,
        rng.integers(25, size=300),
    )
    inside = [auroc(scores[problems == each], labels[problems == each]) for each in range(25)]
    defined = [area for area in inside if area is not None]
    assert within_problem_auroc(scores, labels, problems.tolist()) == pytest.approx(
        np.mean(defined), rel=1e-12
    )


def test_pair_accuracy_counts_every_pair_once():
    # a: .9 over .1, .2, .3: 3 of 3; b: .4 over .6: 0 of 1. Mean of AUROCs 0.5, but 3 of 4 pairs
    scores, labels, problems = (
        [0.9, 0.1, 0.2, 0.3, 0.4, 0.6],
        [True, False, False, False, True, False],
        list("aaaabb"),
    )
    assert pair_accuracy(scores, labels, problems) == 0.75
    assert within_problem_auroc(scores, labels, problems) == 0.5
    assert pair_accuracy([0.9], [True], ["a"]) is None


def test_brier_is_the_mean_squared_distance():
    assert brier([1.0, 0.5], [0.0, 0.25]) == pytest.approx((1 + 0.0625) / 2)


def test_the_noise_floor_is_estimated_from_the_counts():
    # (3/4)(1/4)/3 = 1/16 and (4/4)(0)/3 = 0
    assert brier_noise_floor([3, 4], [4, 4]) == pytest.approx(1 / 32)
    with pytest.raises(ValueError, match=r"n_rollouts: got 1.0, expected at least 2"):
        brier_noise_floor([1], [1])


def test_the_noise_floor_is_what_the_true_values_get():
    rng = np.random.default_rng(1)
    values, n = rng.random(200_000), 4
    counts = rng.binomial(n, values)
    floor = brier_noise_floor(counts, np.full(len(values), n))
    assert floor == pytest.approx(brier(values, counts / n), rel=0.01)
    assert floor == pytest.approx(1 / 6 / n, rel=0.01)  # the mean of p (1 - p) is 1/6


def test_log_loss_takes_soft_targets_and_weights():
    assert log_loss([0.0, logit(0.75)], [1.0, 1.0]) == pytest.approx((np.log(2) + np.log(4 / 3)) / 2)
    assert log_loss([0.0, logit(0.75)], [1.0, 0.5], [1.0, 3.0]) == pytest.approx(
        (np.log(2) - 1.5 * np.log(0.75) - 1.5 * np.log(0.25)) / 4
    )
    assert sigmoid([-1000.0, 0.0, 1000.0]).tolist() == [0.0, 0.5, 1.0]


def test_the_first_step_below_the_threshold_is_the_predicted_error():
    assert predicted_error([0.9, 0.5, 0.2], 0.5) == 2  # 0.5 reaches it
    assert predicted_error([0.9, 0.5, 0.2], 0.95) == 0
    assert predicted_error([0.9, 0.5, 0.2], 0.1) == NO_ERROR


def test_a_first_error_is_found_by_the_thresholds_between_its_score_and_those_before():
    assert right_between([0.9, 0.7, 0.2, 0.1], 2) == (0.2, 0.7)
    assert right_between([0.9, 0.7], NO_ERROR) == (-np.inf, 0.7)
    assert right_between([0.3, 0.9], 0) == (0.3, np.inf)
    low, high = right_between([0.2, 0.6], 1)  # the step before scores lower: never found
    assert low > high


def test_f1_at_a_threshold_is_that_of_its_predictions():
    rng = np.random.default_rng(2)
    scores = [rng.integers(11, size=rng.integers(1, 6)) / 10 for _ in range(80)]
    errors = [int(rng.integers(-1, len(row))) for row in scores]
    bounds = np.array([right_between(list(row), error) for row, error in zip(scores, errors, strict=True)])
    thresholds = [0.0, 0.05, 0.3, 0.5, 0.55, 1.0]
    expected = [
        first_error_f1([predicted_error(list(row), t) for row in scores], errors).f1 for t in thresholds
    ]
    assert f1_at(thresholds, bounds, np.array(errors) != NO_ERROR) == pytest.approx(expected)
    found = best_threshold(list(bounds), [error != NO_ERROR for error in errors])
    assert found is not None
    everywhere = f1_at(np.linspace(0, 1, 2001), bounds, np.array(errors) != NO_ERROR)
    assert found[1] == pytest.approx(everywhere.max())
    assert f1_at([found[0]], bounds, np.array(errors) != NO_ERROR)[0] == found[1]


def test_the_best_threshold_is_the_middle_of_the_best_interval_nearest_to_one_half():
    # erroneous: right between 0.2 and 0.7; correct: up to 0.6; together right in (0.2, 0.6], which holds 0.5
    assert best_threshold([(0.2, 0.7), (-np.inf, 0.6)], [True, False]) == (0.5, 1.0)
    assert best_threshold([(0.1, 0.3), (-np.inf, 0.2)], [True, False]) == pytest.approx((0.15, 1.0))
    assert best_threshold([(0.1, 0.3)], [True]) is None


def example(
    question: str, targets: tuple[float, ...], first_error: int | None, n_correct=(), n_rollouts=()
) -> Example:
    places = tuple(range(len(targets)))
    return Example(
        question, places, places, targets, (1.0,) * len(targets), places, n_correct, n_rollouts, first_error
    )


def test_step_metrics_of_two_solutions_worked_by_hand():
    examples = [example("q", (1.0, 0.0), 1, (3, 0), (4, 4)), example("q", (1.0,), NO_ERROR, (0,), (0,))]
    scores = [[0.75, 0.25], [0.4]]
    found = step_metrics([np.array([logit(score) for score in row]) for row in scores], examples)
    assert found == {
        "step_auroc": 1.0,
        "step_within_problem_auroc": 1.0,
        "step_brier": pytest.approx((0.0625 + 0.0625 + 0.36) / 3),
        "step_ece": pytest.approx((0.25 + 0.25 + 0.6) / 3),
        "step_value_brier": pytest.approx((0.0 + 0.0625) / 2, abs=1e-12),
        "step_value_brier_floor": pytest.approx(1 / 32),
        "first_error_f1": 0.0,
        "first_error_accuracy_on_erroneous": 1.0,
        "first_error_accuracy_on_correct": 0.0,
        "first_error_best_threshold": pytest.approx((0.25 + 0.4) / 2),
        "first_error_best_f1": 1.0,
        "step_brier_at_1": pytest.approx((0.0625 + 0.36) / 2),
        "step_ece_at_1": pytest.approx((0.25 + 0.6) / 2),
        "step_brier_at_2": pytest.approx(0.0625),
        "step_ece_at_2": pytest.approx(0.25),
        "loss": pytest.approx(-(np.log(0.75) + np.log(0.75) + np.log(0.4)) / 3),
        "n_labels": 3,
    }


def test_later_steps_share_their_numbers():
    found = step_metrics([np.zeros(20)], [example("q", (1.0, 0.0) * 10, 1)])
    positions = {name.rpartition("_at_")[2] for name in found if "_at_" in name}
    assert positions == {"1", "2", "3", "4", "5_to_8", "9_to_16", "17_to_32"}
    assert found["step_auroc_at_5_to_8"] == 0.5


def test_what_is_undefined_is_left_out():
    found = step_metrics([np.array([0.0, logit(0.75)])], [example("a", (1.0, 1.0), None)])
    assert {name: value for name, value in found.items() if "_at_" not in name} == {
        "step_brier": pytest.approx((0.25 + 0.0625) / 2),
        "step_ece": pytest.approx((0.5 + 0.25) / 2),
        "loss": pytest.approx((np.log(2) + np.log(4 / 3)) / 2),
        "n_labels": 2,
    }


def test_outcome_metrics():
    found = outcome_metrics(
        np.array([logit(0.75), logit(0.5), logit(0.9)]), np.array([1.0, 0.0, 0.0]), ["a", "a", "b"]
    )
    assert found == {
        "auroc": 0.5,
        "within_problem_auroc": 1.0,
        "pair_accuracy": 1.0,
        "brier": pytest.approx((0.0625 + 0.25 + 0.81) / 3),
        "ece": pytest.approx((0.25 + 0.5 + 0.9) / 3),
        "loss": pytest.approx(-(np.log(0.75) + np.log(0.5) + np.log(0.1)) / 3),
        "n_labels": 3,
    }
