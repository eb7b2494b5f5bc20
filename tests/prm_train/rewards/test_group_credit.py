import math

import pytest

from data_gen.settings.errors import InputError
from prm_train.rewards.completion_scores import CompletionScores
from prm_train.rewards.group_credit import (
    FILTERED,
    UNKNOWN_OUTCOME,
    CreditRules,
    credit_of_group,
    rewards_of_one,
    weighted_outcomes,
)

MIN = CreditRules("min", temperature=0)


def scored(*scores):
    return [CompletionScores(tuple(each)) for each in scores]


def lists(arrays):
    return [pytest.approx(each.tolist(), abs=1e-12) for each in arrays]


def test_min_adds_the_outcome_above_the_others_and_the_worst_step_above_the_others():
    credit = credit_of_group(MIN, [1.0, 0.0], scored([0.9, 0.6], [0.2]))
    # Worst r .2 and -.6, so .8 above and below the other; outcomes 1 above and below
    assert lists(credit.advantages) == [[1.8, 1.8], [-1.8]]
    assert lists(credit.rewards) == [[0, 1.2], [-0.6]]
    assert credit.excluded == (None, None)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_weights_weigh_the_two_parts(weight):
    rules = CreditRules("min", temperature=0, step_weight=weight, outcome_weight=2)
    credit = credit_of_group(rules, [1.0, 0.0], scored([0.9, 0.6], [0.2]))
    assert lists(credit.advantages) == [[2 + 0.8 * weight] * 2, [-2 - 0.8 * weight]]


@pytest.mark.parametrize(
    ("outcome", "third", "reason"),
    [
        (None, CompletionScores((0.1, 0.1)), UNKNOWN_OUTCOME),
        (0.0, CompletionScores(failure="PathTooLong"), "PathTooLong"),
        (None, CompletionScores(failure="no step"), "no step"),
    ],
)
def test_what_is_unknown_gets_no_credit_and_is_in_no_baseline(outcome, third, reason):
    two = credit_of_group(MIN, [1.0, 0.0], scored([0.9, 0.6], [0.2]))
    three = credit_of_group(MIN, [1.0, outcome, 0.0], [*scored([0.9, 0.6]), third, *scored([0.2])])
    assert three.excluded == (None, reason, None)
    assert three.advantages[1].tolist() == three.rewards[1].tolist() == [0.0] * len(third.scores)
    assert [three.advantages[n].tolist() for n in (0, 2)] == lists(two.advantages)


def test_without_weight_outcomes_are_not_read():
    rules = CreditRules("advantage", outcome_weight=0)
    credit = credit_of_group(rules, [None, None], scored([0.5, 0.75], [0.25, 0.5]))
    assert credit.excluded == (None, None)
    # The value of the prompt is the other's first value: .25 and .5
    assert lists(credit.advantages) == [[0.25, 0.25], [-0.25, 0.25]]


def test_progress_is_credited_to_its_step_alone_and_the_outcome_to_all():
    credit = credit_of_group(CreditRules("advantage"), [1.0, 0.0], scored([0.5, 0.75], [0.25, 0.5]))
    assert lists(credit.advantages) == [[1.25, 1.25], [-1.25, -0.75]]


def test_centred_scores_move_steps_within_right_and_within_wrong_completions():
    rules = CreditRules("outcome_centred")
    credit = credit_of_group(rules, [1.0, 1.0, 0.0], scored([0.8, 0.6], [0.9], [0.4, 0.2]))
    # Returns to go (-.1, -.1), (.1), (0, -.05), above the others' means: see test_forms
    assert lists(credit.advantages) == [[0.5 - 0.1375] * 2, [0.5 + 0.1625], [-1, -1.05]]


def test_a_gate_halves_right_outcomes_with_a_drop():
    credit = credit_of_group(CreditRules("gate"), [1.0, 1.0, 0.0], scored([0.9, 0.5], [0.9, 0.9], [0.9, 0.1]))
    assert lists(credit.advantages) == [[0, 0], [0.75, 0.75], [-0.75, -0.75]]  # of .5, 1 and 0
    assert lists(credit.rewards) == [[0, 0.5], [0, 1], [0, 0]]


def test_a_filter_trains_on_what_scores_and_outcomes_agree_on():
    credit = credit_of_group(CreditRules("filter"), [1.0, 1.0, 0.0, 0.0], scored([0.9], [0.4], [0.8], [0.1]))
    assert lists(credit.advantages) == [[1], [0], [0], [-1]]
    assert credit.excluded == (None, FILTERED, FILTERED, None)


def test_outcomes_are_scaled_as_grpo_does_and_step_scores_are_not():
    credit = credit_of_group(MIN, [1.0, 0.0], scored([0.9, 0.6], [0.2]), scale=True)
    assert credit.advantages[0] == pytest.approx(1 / (math.sqrt(0.5) + 1e-4) + 0.8)
    alike = credit_of_group(MIN, [1.0, 1.0], scored([0.9], [0.2]), scale=True)
    assert lists(alike.advantages) == [[1.4], [-1.4]]  # 0 of 0 for the outcomes


def test_alone_there_is_nothing_to_be_above():
    credit = credit_of_group(MIN, [1.0, None], [*scored([0.9]), CompletionScores(failure="no step")])
    assert lists(credit.advantages) == [[0], []]
    assert credit_of_group(MIN, [None], scored([0.9])).advantages[0].tolist() == [0]


def test_the_sum_pays_for_more_steps():
    rules = CreditRules("hacked_sum", outcome_weight=0)
    short, long = credit_of_group(rules, [None, None], scored([0.9], [0.6] * 5)).advantages
    assert long[0] > 0 > short[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "sum"}, "grows with the number of steps"),
        ({"form": "mean"}, "got 'mean', expected min, advantage, outcome_centred, gate, filter$"),
        ({"form": "min", "temperature": -1}, "temperature: got -1, expected 0 or more"),
        ({"form": "gate", "gamma": 1.5}, "gamma: got 1.5, expected 0 to 1"),
        ({"form": "min", "step_weight": math.nan}, "step_weight: got nan"),
    ],
)
def test_rules_that_cannot_be_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        CreditRules(**settings)


def test_rewards_of_a_completion_whose_group_is_not_known():
    (one,) = scored([0.9, 0.6])
    assert rewards_of_one(MIN, 1.0, one) == pytest.approx([0, 1.2])
    assert rewards_of_one(CreditRules("advantage"), 1.0, one) == pytest.approx([0.9, 0.7])
    assert rewards_of_one(CreditRules("gate"), 1.0, one) == pytest.approx([0, 0.5])
    assert rewards_of_one(MIN, None, one) is None
    assert rewards_of_one(MIN, 1.0, CompletionScores(failure="no step")) is None
    with pytest.raises(InputError, match="filter"):
        rewards_of_one(CreditRules("filter"), 1.0, one)


def test_rewards_of_several_functions_are_one_outcome_and_all_unknown_is_unknown():
    nan = math.nan
    assert weighted_outcomes([[1, 0.5], [nan, 1], [nan, nan]], [1, 2]) == [2, 2, None]
