import math

import numpy as np
import pytest

from prm_train.rewards.forms import (
    above_others,
    centred_rewards,
    consistent,
    gated,
    min_rewards,
    others_mean,
    progress,
    relative_drop,
    to_go,
)


def test_the_worst_step_alone_earns_at_temperature_0():
    rewards = min_rewards([0.9, 0.2, 0.6], temperature=0)
    assert rewards == pytest.approx([0, -0.6, 0])
    assert to_go(rewards) == pytest.approx([-0.6, -0.6, 0])  # what follows the worst step changes nothing
    assert min_rewards([0.5, 0.5], temperature=0).tolist() == [0, 0]


def test_min_is_weighted_by_a_softmax_as_in_pure():
    weight = 1 / (1 + math.exp(-1))  # r = 0 and 1, at temperature 1
    assert min_rewards([0.5, 1.0], temperature=1) == pytest.approx([0, 1 - weight])
    assert min_rewards([0.9, 0.2, 0.6], temperature=0.1).sum() == pytest.approx(-0.6, abs=1e-3)


def test_more_good_steps_do_not_earn_more_under_min():
    earned = [min_rewards([0.9] * n, temperature=0.1).sum() for n in (1, 10, 100)]
    assert earned == pytest.approx([0.8, 0.8, 0.8])


def test_progress_is_the_difference_to_the_value_before():
    assert progress([0.5, 0.75, 0.25], start=0.5) == pytest.approx([0, 0.25, -0.5])


def test_step_scores_are_centred_within_right_and_within_wrong_completions():
    rewards = centred_rewards([[0.8, 0.6], [0.9], [0.4, 0.2]], [True, True, False])
    # Means .7 and .9 of the right ones, .3 of the wrong one
    assert [each.tolist() for each in rewards] == [
        pytest.approx([0, -0.1]),
        pytest.approx([0.1]),
        pytest.approx([0.05, -0.05]),
    ]
    assert centred_rewards([[0.7]], [False])[0].tolist() == [0]


def test_a_drop_is_relative_to_the_score_before():
    assert relative_drop([0.9, 0.6, 0.3]) == pytest.approx(0.5)
    assert relative_drop([0.3, 0.9]) == relative_drop([0.2]) == 0
    assert relative_drop([0.0, 0.0]) == 0


def test_a_drop_costs_a_right_completion_gamma_and_a_wrong_one_nothing():
    assert gated(1.0, [0.9, 0.6], gamma=0.5, rho=0.3) == 0.5  # fell by a third
    assert gated(1.0, [0.9, 0.7], gamma=0.5, rho=0.3) == 1.0
    assert gated(0.0, [0.9, 0.1], gamma=0.5, rho=0.3) == 0.0


@pytest.mark.parametrize(
    ("means", "is_right", "kept"),
    [
        # 3 of 5: two right ones with the highest, the wrong one with the lowest mean score
        ([0.9, 0.5, 0.7, 0.2, 0.6], [1, 1, 1, 0, 0], [1, 0, 1, 1, 0]),
        ([0.9, 0.5, 0.7, 0.2], [1, 1, 1, 1], [1, 0, 1, 0]),
        ([0.9, 0.5, 0.7, 0.2], [0, 0, 1, 0], [0, 0, 1, 1]),
    ],
)
def test_the_filter_keeps_what_scores_and_outcomes_agree_on(means, is_right, kept):
    scores = [[mean - 0.1, mean + 0.1] for mean in means]
    assert consistent(scores, is_right, kept_share=0.5).tolist() == kept


def test_a_baseline_is_the_mean_of_the_others():
    assert others_mean([1, 0, 0, 1]) == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1 / 3])
    assert others_mean([5]).tolist() == [5]
    assert others_mean([]).tolist() == []


def test_all_steps_of_a_completion_have_the_baseline_of_its_group():
    returns = [np.array([1, 0.5]), np.array([0.2]), np.array([0.3, 0.1])]  # means .75, .2, .2
    assert [each.tolist() for each in above_others(returns)] == [
        pytest.approx([0.8, 0.3]),
        pytest.approx([-0.275]),
        pytest.approx([-0.175, -0.375]),
    ]


def test_the_baseline_leaves_the_gradient_of_a_policy_that_decides_when_to_stop():
    """It goes on to a second step with probability p = sigmoid(theta); each step earns 1, so that the return
    is 1 + p and its derivative p (1 - p). A baseline per index of a step takes that away.
    """
    p = 0.3
    paths = {"stops": (1 - p, -p, np.ones(1)), "goes on": (p, 1 - p, np.ones(2))}  # chance, d log, rewards
    expected = 0.0
    for chance, slope, rewards in paths.values():
        for other_chance, _, other_rewards in paths.values():
            own, _ = above_others([to_go(rewards), to_go(other_rewards)])
            expected += chance * other_chance * slope * own[0]  # the choice is part of the first step
    assert expected == pytest.approx(p * (1 - p))
