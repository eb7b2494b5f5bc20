"""Targets and weights worked out by hand from counts."""

from dataclasses import replace

import pytest

from data_gen.rows.layouts import PrmRow
from data_gen.settings.errors import InputError
from prm_train.examples.targets import LabelAlgebra, step_targets, with_mean_weight_one

ROW = PrmRow(
    problem_id="p7",
    prompt="q",
    completions=("a", "b", "c", "d"),
    labels=(True, True, False, None),
    n_correct=(6, 1, 0, 0),
    n_rollouts=(8, 8, 4, 0),
    n_unknown=(0, 0, 0, 0),
    stopping=("fixed",) * 4,
    method=("rollouts", "rollouts", "rollouts", "none"),
)
STOPPED = replace(ROW, stopping=("first_success",) * 4, n_correct=(1, 1, 0, 0), n_rollouts=(2, 5, 8, 0))


def targets(row: PrmRow, **settings):
    return step_targets(row, LabelAlgebra(**settings))


def test_hard_targets_are_the_labels_or_shares_above_a_threshold():
    assert targets(ROW) == [(1.0, 1.0), (1.0, 1.0), (0.0, 1.0), None]
    assert targets(ROW, hard_threshold=0.0) == [(1.0, 1.0), (1.0, 1.0), (0.0, 1.0), None]
    assert targets(ROW, hard_threshold=0.125) == [(1.0, 1.0), (0.0, 1.0), (0.0, 1.0), None]


def test_soft_targets_are_shares_and_weights_may_be_rollouts():
    assert targets(ROW, label_kind="soft") == [(0.75, 1.0), (0.125, 1.0), (0.0, 1.0), None]
    assert targets(ROW, label_kind="soft", weigh_by_rollouts=True) == [
        (0.75, 8.0),
        (0.125, 8.0),
        (0.0, 4.0),
        None,
    ]
    assert targets(ROW, weigh_by_rollouts=True) == [(1.0, 8.0), (1.0, 8.0), (0.0, 4.0), None]


def test_the_likelihood_takes_counts_of_every_stopping_rule():
    assert targets(STOPPED, label_kind="likelihood") == [(0.5, 2.0), (0.2, 5.0), (0.0, 8.0), None]


def test_the_value_at_the_end_of_a_solution_is_its_verdict():
    ended = replace(
        STOPPED,
        method=("rollouts", "rollouts", "rollouts", "terminal"),
        low=(0.1, 0.0, 0.0, 0.0),
        high=(1.0, 0.7, 0.3, 0.0),
    )
    assert targets(ended, label_kind="likelihood") == [(0.5, 2.0), (0.2, 5.0), (0.0, 8.0), (0.0, 1.0)]
    right = replace(
        ROW,
        method=("rollouts", "rollouts", "rollouts", "terminal"),
        low=(0.3, 0.0, 0.0, 1.0),
        high=(1.0, 0.6, 0.7, 1.0),
    )
    assert targets(right, label_kind="soft") == [(0.75, 1.0), (0.125, 1.0), (0.0, 1.0), (1.0, 1.0)]
    # Rows without intervals do not say the verdict
    assert targets(replace(right, low=(), high=()), label_kind="soft")[-1] is None


def test_a_witnessed_step_had_some_success():
    witnessed = replace(
        STOPPED,
        method=("witness", "rollouts", "rollouts", "none"),
        n_correct=(0, 1, 0, 0),
        n_rollouts=(0, 5, 8, 0),
    )
    assert targets(witnessed, hard_threshold=0.0) == [(1.0, 1.0), (1.0, 1.0), (0.0, 1.0), None]
    # Some success, of how many draws nobody knows
    assert targets(witnessed, label_kind="likelihood")[0] is None


def test_smoothed_targets_are_the_mean_under_a_beta_prior():
    assert targets(ROW, label_kind="smoothed", smoothing=1.0) == [(0.7, 1.0), (0.2, 1.0), (1 / 6, 1.0), None]


@pytest.mark.parametrize(
    "settings", [{"label_kind": "soft"}, {"label_kind": "smoothed"}, {"hard_threshold": 0.25}]
)
def test_shares_of_stopped_rollouts_are_refused(settings):
    with pytest.raises(
        InputError, match=r"problem p7, step 0: .* needs a fixed number .* got stopping 'first_success'"
    ):
        targets(STOPPED, **settings)
    # Any success: no share is read
    assert targets(STOPPED, hard_threshold=0.0) == [(1.0, 1.0), (1.0, 1.0), (0.0, 1.0), None]


def test_weights_by_rollouts_that_stopped_early_are_refused():
    with pytest.raises(
        InputError, match=r"problem p7, step 0: weigh_by_rollouts needs a fixed number of rollouts"
    ):
        targets(STOPPED, weigh_by_rollouts=True)


def test_what_follows_the_first_error_can_be_masked():
    late = replace(ROW, labels=(True, False, True, False), n_correct=(6, 0, 2, 0), n_rollouts=(8, 8, 8, 8))
    wrong = replace(late, n_correct=(6, 0, 0, 0))
    assert targets(wrong, until_first_error=True) == [(1.0, 1.0), (0.0, 1.0), None, None]
    assert targets(wrong, label_kind="soft", until_first_error=True) == [(0.75, 1.0), (0.0, 1.0), None, None]
    assert targets(wrong, label_kind="smoothed", until_first_error=True) == [
        (0.7, 1.0),
        (0.1, 1.0),
        None,
        None,
    ]
    # A lucky rollout from step 2 proves nothing
    assert targets(late, until_first_error=True) == targets(wrong, until_first_error=True)


def test_a_right_solution_is_never_cut():
    methods, low, high = (
        ("rollouts", "rollouts", "rollouts", "terminal"),
        (0.3, 0.0, 0.0, 1.0),
        (1.0, 0.6, 0.7, 1.0),
    )
    right = replace(ROW, labels=(True, True, False, True), method=methods, low=low, high=high)
    assert targets(right, until_first_error=True) == [(1.0, 1.0)] * 4
    assert targets(right, label_kind="likelihood", until_first_error=True) == [
        (0.75, 8.0),
        (0.125, 8.0),
        (0.0, 4.0),
        (1.0, 1.0),
    ]


def test_where_rollouts_weigh_a_verdict_weighs_what_it_is_told():
    ended = PrmRow(
        "p7", "q", ("a",), (False,), (0,), (0,), (0,), ("fixed",), ("terminal",), low=(0.0,), high=(0.0,)
    )
    algebra = LabelAlgebra(label_kind="likelihood")
    assert step_targets(ended, algebra, weight_of_known=16.0) == [(0.0, 16.0)]
    assert step_targets(ended, LabelAlgebra(label_kind="soft"), weight_of_known=16.0) == [(0.0, 1.0)]


def test_weights_are_scaled_to_average_one():
    assert with_mean_weight_one([(8.0, 8.0), (2.0, 6.0)]) == [(4 / 3, 4 / 3), (1 / 3, 1.0)]


def test_a_threshold_without_hard_labels_is_refused():
    with pytest.raises(
        ValueError, match=r"hard_threshold: got 0\.5 with label_kind soft, expected label_kind hard"
    ):
        LabelAlgebra(label_kind="soft", hard_threshold=0.5)
