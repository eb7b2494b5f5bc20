import numpy as np
import pytest

from data_gen.records.first_error import NO_ERROR, labels_of
from prm_train.benchmarking.first_errors import CROSS_FITTED, FIXED, OWN, Split, measure, predictions, table
from prm_train.benchmarking.rows import Attempt, JudgedSolution


def judged(*errors: int, n_steps: int = 3) -> list[JudgedSolution]:
    return [
        JudgedSolution(
            f"row {i}", "split", Attempt(f"question {i}", tuple("abc"[:n_steps])), labels_of(error, n_steps)
        )
        for i, error in enumerate(errors)
    ]


def test_f1_is_the_harmonic_mean_of_two_accuracies_worked_by_hand() -> None:
    solutions = judged(1, 0, 2, NO_ERROR, NO_ERROR)
    scores = [(0.9, 0.2, 0.9), (0.6, 0.1, 0.1), (0.9, 0.9, 0.4), (0.9, 0.8, 0.9), (0.9, 0.4, 0.9)]
    # at 0.5: found at 1 (right), at 1 (wrong, 0 expected), at 2 (right); none (right), at 1 (wrong): 2/3 and
    # 1/2
    split = Split(solutions, scores, seed=0)
    results, mean, used = measure({"gsm8k": split}, tuned=("gsm8k", split.best() or 0.0))
    at = results["gsm8k"].at[FIXED]
    assert [at.accuracy_on_erroneous, at.accuracy_on_correct] == pytest.approx([2 / 3, 0.5])
    assert at.f1 is not None
    assert at.f1.mean == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert mean[FIXED].f1.mean == at.f1.mean
    assert at.f1.low <= at.f1.mean <= at.f1.high
    # (0.6, 0.8]: all errors found, and one of two correct ones; (0.4, 0.6]: 2/3 and 1/2; (0.2, 0.4]: 1/3 and
    # 1. The split chose it, so it is in no mean.
    tuned = results["gsm8k"].at["tuned on gsm8k"]
    assert tuned.f1 is not None
    assert [*tuned.thresholds, tuned.f1.mean] == pytest.approx([0.7, 2 * 1 * 0.5 / 1.5])
    assert tuned.chosen_here
    assert "tuned on gsm8k" not in mean
    assert "not in the mean" in table(results, mean)
    half = next(each for each in results["gsm8k"].sweep if each["threshold"] == 0.5)
    assert half["f1"] == pytest.approx(at.f1.mean)
    told = predictions(split, used["gsm8k"])
    assert [row["predicted"][FIXED] for row in told] == [1, 1, 2, NO_ERROR, 1]
    assert [row["label"] for row in told] == [1, 0, 2, NO_ERROR, NO_ERROR]


def test_nothing_found_is_an_f1_of_zero() -> None:
    results, _, _ = measure({"a": Split(judged(2, NO_ERROR), [(0.1, 0.1, 0.1), (0.1, 0.1, 0.1)], 0)})
    found = results["a"].at[FIXED].f1
    assert found is not None
    assert found.mean == 0.0


def test_the_threshold_of_one_split_is_used_on_others_and_the_mean_is_plain() -> None:
    gsm8k = Split(judged(0, NO_ERROR, n_steps=1), [(0.1,), (0.3,)], 0)  # best between 0.1 and 0.3
    math = Split(judged(0, 0, NO_ERROR, n_steps=1), [(0.15,), (0.25,), (0.9,)], 0)
    best = gsm8k.best()
    assert best == pytest.approx(0.2)
    results, mean, _ = measure({"gsm8k": gsm8k, "math": math}, own=0.26, tuned=("gsm8k", best or 0.0))
    found = results["math"].at["tuned on gsm8k"].f1
    assert found is not None
    assert found.mean == pytest.approx(2 * 0.5 * 1 / 1.5)
    assert (mean["tuned on gsm8k"].f1.mean, mean["tuned on gsm8k"].n_splits) == (found.mean, 1)
    # at 0.5: 1 and 0, harmonic mean 0; 1 and 1
    assert [mean[FIXED].f1.mean, mean[OWN].f1.mean] == pytest.approx([(0 + 1) / 2, 1.0])
    assert mean[FIXED].n_splits == 2


def test_no_solution_is_measured_at_a_threshold_that_it_helped_to_choose() -> None:
    errors = [0, NO_ERROR] * 20
    scores = [(0.2,) if error == 0 else (0.4,) for error in errors]
    split = Split(judged(*errors, n_steps=1), scores, 0)
    before = split.cross_fitted()
    assert before is not None
    assert before.tolist() == pytest.approx([0.3] * 40)  # the middle of 0.2 and 0.4
    fold = split.folds[0]
    # the scores of one fold change: the threshold that it is measured at does not, those of the others do
    moved = [
        (score[0] + 0.5,) if own == fold else score for score, own in zip(scores, split.folds, strict=True)
    ]
    after = Split(judged(*errors, n_steps=1), moved, 0).cross_fitted()
    assert after is not None
    assert after[split.folds == fold].tolist() == pytest.approx([0.3] * int((split.folds == fold).sum()))
    assert CROSS_FITTED in measure({"a": split})[0]["a"].at


def test_a_solution_that_does_not_fit_is_right_only_if_its_error_lies_in_the_part_that_does() -> None:
    solutions = judged(0, 2, NO_ERROR)
    split = Split(solutions, [(0.2, 0.9), (0.9, 0.9), (0.9, 0.9)], 0)
    assert split.bounds.tolist() == [[0.2, np.inf], [np.inf, -np.inf], [np.inf, -np.inf]]
    split = Split(solutions, [(0.2, 0.9), (0.9, 0.9), ()], 0)
    results, _, used = measure({"a": split})
    assert (results["a"].n_too_long, results["a"].at[FIXED].accuracy_on_erroneous) == (3, 0.5)
    told = predictions(split, used["a"])
    assert [row["predicted"][FIXED] for row in told] == [0, None, None]
    assert told[0]["scores"] == [0.2, 0.9, None]


def test_a_set_of_one_kind_has_its_accuracy_and_no_f1() -> None:
    results, mean, _ = measure({"wrong": Split(judged(0, 0, n_steps=1), [(0.1,), (0.9,)], 0)})
    at = results["wrong"].at
    assert list(at) == [FIXED]  # nothing to choose a threshold from
    assert (at[FIXED].accuracy_on_erroneous, at[FIXED].accuracy_on_correct, at[FIXED].f1) == (0.5, None, None)
    assert mean == {}
    told = table(results, mean)
    assert "undefined" in told
    assert " 50.0 " in told


def test_the_interval_is_wider_where_solutions_share_problems() -> None:
    rng = np.random.default_rng(0)
    is_right = np.repeat(rng.random(40) < 0.5, 10)  # all solutions of a problem are right, or none
    errors = np.tile([0, NO_ERROR], 200).tolist()
    # a score of 0.2 tells every error; one of 0.9 none, and so on the other side
    scores = [
        (0.2,) if right == (error == 0) else (0.9,) for right, error in zip(is_right, errors, strict=True)
    ]
    widths = []
    for per_problem in (1, 10):
        solutions = [
            JudgedSolution(str(i), "a", Attempt(f"question {i // per_problem}", ("x",)), labels_of(error, 1))
            for i, error in enumerate(errors)
        ]
        found = measure({"a": Split(solutions, scores, 0)})[0]["a"].at[FIXED].f1
        assert found is not None
        widths.append(found.high - found.low)
    assert 2 < widths[1] / widths[0] < 4.5  # about the root of 10
