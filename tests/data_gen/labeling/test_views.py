import pytest

from data_gen.labeling.rollouts import WITNESS, terminal
from data_gen.labeling.views import advantage, cleared, hard, likelihood, smoothed, soft
from data_gen.records.solutions import StepEstimate
from data_gen.settings.errors import InputError

ROOT = StepEstimate(6, 8, 0, "rollouts")
FIXED = (
    StepEstimate(4, 8, 0, "rollouts"),
    StepEstimate(1, 8, 0, "rollouts"),
    StepEstimate(0, 8, 1, "rollouts"),
    StepEstimate(),
)
STOPPED = StepEstimate(1, 3, 0, "rollouts", "first_success")


def test_hard_labels_ask_whether_any_rollout_succeeded() -> None:
    assert hard(FIXED) == (True, True, False, None)
    assert hard((STOPPED, WITNESS, terminal(False))) == (True, True, False)
    assert hard((WITNESS, terminal(True))) == (True, True)


def test_a_threshold_asks_for_a_share_of_them() -> None:
    assert hard(FIXED, threshold=0.2) == (True, False, False, None)
    assert hard((WITNESS, FIXED[0]), threshold=0.5) == (None, False)
    with pytest.raises(
        InputError,
        match=r"step 0: hard_threshold 0\.5 needs a fixed number of rollouts.*got stopping 'first_success'",
    ):
        hard((STOPPED,), threshold=0.5)
    with pytest.raises(InputError, match="threshold: got 1, expected 0 or more"):
        hard(FIXED, threshold=1)


def test_soft_values_are_fractions_of_a_fixed_number() -> None:
    assert soft((*FIXED, WITNESS, terminal(False))) == (0.5, 0.125, 0.0, None, None, 0.0)


@pytest.mark.parametrize("stopping", ["first_success", "sequential", "posterior", "interval"])
def test_a_biased_fraction_is_no_soft_value(stopping: str) -> None:
    with pytest.raises(
        InputError, match=f"step 1: a soft value needs a fixed number of rollouts.*got stopping '{stopping}'"
    ):
        soft((FIXED[0], StepEstimate(1, 3, 0, "rollouts", stopping)))


def test_smoothed_values_shrink_counts_and_leave_the_verdict() -> None:
    assert smoothed((*FIXED[:3], WITNESS, terminal(True)), a=1.0) == (0.5, 0.2, 0.1, None, 1.0)


def test_a_right_solution_clears_its_steps_of_which_no_rollout_succeeded() -> None:
    by_chance = (FIXED[0], FIXED[2], FIXED[1], terminal(True))
    assert hard(by_chance) == (True, False, True, True)
    assert cleared(hard(by_chance), by_chance) == (True, True, True, True)
    below_threshold = (FIXED[1], FIXED[0], terminal(True))
    assert cleared(hard(below_threshold, 0.2), below_threshold) == (False, True, True)
    by_hand = (StepEstimate(), StepEstimate(), terminal(True))
    assert cleared((True, False, True), by_hand) == (True, False, True)


def test_a_lucky_rollout_clears_no_step_of_a_wrong_solution() -> None:
    lucky = (FIXED[0], FIXED[2], FIXED[1], terminal(False))
    assert cleared(hard(lucky), lucky) == (True, False, True, False)
    assert cleared((True, False, None, None), lucky) == (True, False, None, None)
    assert cleared((), ()) == ()


def test_an_advantage_is_what_a_step_adds() -> None:
    assert advantage(ROOT, FIXED) == (-0.25, -0.375, -0.125, None)
    assert advantage(StepEstimate(), FIXED) == (None, -0.375, -0.125, None)


def test_counts_keep_their_likelihood_under_any_stopping_rule() -> None:
    assert likelihood((STOPPED, FIXED[1], WITNESS)) == ((1, 2), (1, 7), (0, 0))
