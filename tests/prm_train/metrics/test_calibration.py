from itertools import pairwise

import numpy as np
import pytest

from data_gen.records.first_error import NO_ERROR
from prm_train.checkpoints.calibration import UNCALIBRATED, Calibration, ScoreBin
from prm_train.examples.examples import Example
from prm_train.metrics.calibration import (
    OWN_VALIDATION,
    CalibrationError,
    calibrate,
    fit,
    quality,
    reliability_of,
    score_bins,
)
from prm_train.metrics.ranking import sigmoid

ONES = np.ones(4)


def drawn(n: int, scale: float, bias: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that are right with probability sigmoid(scale * logit + bias)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, n)
    return logits, (rng.random(n) < sigmoid(scale * logits + bias)).astype(float)


def solutions(logits: np.ndarray, targets: np.ndarray) -> tuple[list[np.ndarray], list[Example]]:
    """Two steps a solution, two solutions a question; the first error is the first wrong step."""
    rows, examples = [], []
    for i in range(0, len(logits), 2):
        pair = tuple(map(float, targets[i : i + 2]))
        error = NO_ERROR if min(pair) == 1 else pair.index(0.0)
        rows.append(logits[i : i + 2])
        examples.append(
            Example(f"question {i // 4}", (1, 2), (0, 1), pair, (1.0, 1.0), (0, 1), first_error=error)
        )
    return rows, examples


def test_platt_finds_the_scale_and_bias_that_the_labels_were_drawn_with():
    logits, targets = drawn(20_000, 0.5, -1.0)
    found = fit(logits, targets, np.ones_like(logits), "platt")
    assert found.method == "platt"
    assert [found.scale, found.bias] == pytest.approx([0.5, -1.0], abs=0.05)


def test_temperature_has_no_bias():
    logits, targets = drawn(20_000, 0.4, 0.0)
    found = fit(logits, targets, np.ones_like(logits), "temperature")
    assert found.scale == pytest.approx(0.4, abs=0.02)
    assert found.bias == 0.0


def test_the_maximum_is_where_the_likelihood_is_flat():
    logits, targets, weights = (
        np.array([2.0, 1.0, -1.0, -3.0]),
        np.array([1.0, 0.25, 0.5, 0.0]),
        np.array([1.0, 2.0, 1.0, 0.5]),
    )
    found = fit(logits, targets, weights, "platt")
    n_right, n_wrong = 2.0, 2.5
    smooth = targets * (n_right + 1) / (n_right + 2) + (1 - targets) / (n_wrong + 2)
    residuals = weights * (sigmoid(found.scale * logits + found.bias) - smooth)
    assert residuals.sum() == pytest.approx(0.0, abs=1e-6)
    assert (residuals * logits).sum() == pytest.approx(0.0, abs=1e-6)


def test_a_weight_of_two_is_two_solutions():
    logits, targets, weights = (
        np.array([2.0, -1.0, 1.0, 0.5]),
        np.array([1.0, 0.0, 0.0, 1.0]),
        np.array([2.0, 1.0, 1.0, 1.0]),
    )
    twice = [0, 0, 1, 2, 3]
    once, repeated = (
        fit(logits, targets, weights, "platt"),
        fit(logits[twice], targets[twice], np.ones(5), "platt"),
    )
    assert [once.scale, once.bias] == pytest.approx([repeated.scale, repeated.bias])


def test_scores_that_separate_perfectly_get_a_finite_scale():
    logits, targets = np.array([0.1, 0.2, -0.1, -0.2]), np.array([1.0, 1.0, 0.0, 0.0])
    for method in ("temperature", "platt"):
        found = fit(logits, targets, ONES, method)
        assert 1 < found.scale < 100
    # right ones count as 3/4, wrong ones as 1/4: the best score at |z| near 0.15 lies near there
    assert sigmoid(found.scale * 0.15) == pytest.approx(0.75, abs=0.03)


def test_logits_far_out_do_no_harm():
    found = fit(np.array([800.0, -700.0, 900.0, -600.0]), np.array([1.0, 0.0, 1.0, 0.0]), ONES, "platt")
    assert 0 < found.scale < 1
    assert np.isfinite(found.bias)


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_logits_that_mean_the_opposite_are_refused(method):
    with pytest.raises(
        CalibrationError,
        match=rf"calibration {method}: the best scale is -\d.*: higher logits do not mean better",
    ):
        fit(np.array([1.0, 2.0, -1.0, -2.0]), np.array([0.0, 0.0, 1.0, 1.0]), ONES, method)


def test_calibration_is_measured_on_questions_that_did_not_fit_it():
    logits, targets = drawn(8000, 0.3, 0.5)
    rows, examples = solutions(logits, targets)
    found = calibrate(rows, examples, "platt")
    assert found.n_questions_fitted + found.n_questions_measured == 2000
    assert 900 < found.n_questions_fitted < 1100
    assert found.n_labels_measured == 4 * found.n_questions_measured
    assert found.after.ece < 0.03 < 0.1 < found.before.ece
    assert found.after.log_loss < found.before.log_loss
    assert found.after.brier < found.before.brier
    # what the measuring half says has no influence on the fit
    fitting = fitted(examples)
    other = [row if index in fitting else 1.5 * row for index, row in enumerate(rows)]
    assert calibrate(other, examples, "platt").calibration == found.calibration


def test_a_calibration_that_makes_other_questions_worse_is_refused():
    logits, targets = drawn(8000, 1.0, 0.0)
    rows, examples = solutions(logits, targets)
    fitting = fitted(examples)
    shifted = [row + 2.0 if index in fitting else row for index, row in enumerate(rows)]
    with pytest.raises(
        CalibrationError, match=r"calibration platt on \d+ questions makes log loss on \d+ others worse"
    ):
        calibrate(shifted, examples, "platt")


def fitted(examples: list[Example]) -> set[int]:
    from data_gen.records.draw_keys import derive_seed

    return {
        i
        for i, example in enumerate(examples)
        if derive_seed("calibration question", example.question) % 2 == 0
    }


def test_thresholds_are_of_calibrated_scores_and_their_f1_is_of_the_other_half():
    logits, targets = drawn(8000, 1.0, 0.0)
    # Two too low: 0.5 is a bad threshold until it is calibrated
    rows, examples = solutions(logits - 2.0, targets)
    fixed, own = calibrate(rows, examples, "none").thresholds
    assert (fixed.tuned_on, fixed.value, own.tuned_on) == ("none (fixed)", 0.5, OWN_VALIDATION)
    assert fixed.f1 is not None
    assert own.f1 is not None
    assert own.value < 0.3
    assert own.f1 > fixed.f1 + 0.05
    calibrated_fixed, calibrated_own = calibrate(rows, examples, "platt").thresholds
    assert 0.3 < calibrated_own.value < 0.7
    assert calibrated_fixed.f1 is not None
    assert calibrated_fixed.f1 > fixed.f1 + 0.05


def test_outcomes_have_no_threshold_of_steps():
    logits, targets = drawn(400, 0.3, 0.5)
    examples = [
        Example(f"question {i // 4}", (1,), (0,), (float(target),), (1.0,))
        for i, target in enumerate(targets)
    ]
    assert calibrate([logits[i : i + 1] for i in range(400)], examples, "platt").thresholds == ()


def test_too_few_questions_are_refused():
    rows, examples = solutions(np.array([1.0, -1.0]), np.array([1.0, 0.0]))
    with pytest.raises(
        CalibrationError,
        match=r"1 solutions of 1 questions: one half of the questions has 0 labels; expected right and",
    ):
        calibrate(rows, examples, "platt")


def test_no_method_changes_nothing():
    assert fit(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 0.0, 1.0]), ONES, "none") == Calibration()


def test_quality_of_scores_worked_by_hand():
    found = quality(np.array([0.0, 0.0]), np.array([1.0, 0.0]))
    assert [found.log_loss, found.brier, found.ece] == pytest.approx([np.log(2), 0.25, 0.0])


def test_bins_hold_as_many_labels_each_and_equal_scores_together():
    """Of 8 scores in 3 bins, the 1st, 3rd and 6th lowest begin one: 0.1, 0.3 and 0.9."""
    scores = np.array([0.9, 0.1, 0.3, 0.3, 0.2, 0.3, 0.9, 0.9])
    targets = np.array([1.0, 0.0, 1.0, 0.5, 0.0, 0.0, 1.0, 1.0])
    assert score_bins(scores, targets, list("aabbccab"), 3) == (
        ScoreBin(0.0, 2, 2, 0.0),
        ScoreBin(0.3, 3, 2, 0.5),
        ScoreBin(0.9, 3, 2, 1.0),
    )
    assert score_bins(np.array([0.5, 0.5]), np.array([1.0, 0.0]), ["a", "a"]) == (ScoreBin(0.0, 2, 1, 0.5),)


def test_scores_are_counted_as_calibrated_on_questions_that_did_not_fit_the_calibration():
    logits, targets = drawn(8000, 0.3, 0.5)
    rows, examples = solutions(logits, targets)
    found = calibrate(rows, examples, "platt")
    bins = reliability_of(rows, examples, found.calibration).bins
    assert sum(each.n_labels for each in bins) == found.n_labels_measured
    assert len(bins) == 10
    for each, following in pairwise(bins):  # a calibrated score is the share, nearly
        assert each.low - 0.07 < each.share_right < following.low + 0.07
    of_all = reliability_of(rows, examples, UNCALIBRATED).bins
    assert sum(each.n_labels for each in of_all) == 8000
    assert all(each.n_labels == 800 and 400 < each.n_questions <= 800 for each in of_all)
