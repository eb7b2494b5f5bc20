"""The credit of two attempts, worked out by hand."""

import pytest

from data_gen.records.verdicts import CORRECT, INCORRECT, unknown
from prm_train.self_correction.credit import (
    AttemptCredit,
    group_credit,
    leave_one_out,
    reward,
    rewards_of_stage,
)
from prm_train.self_correction.settings import ScoreObjective

TWO = ScoreObjective(kl_first=5.0, kl=0.25, alpha=2.0)


def test_an_unknown_verdict_is_no_reward() -> None:
    assert [reward(each) for each in (CORRECT, INCORRECT, unknown("no_answer"))] == [1.0, 0.0, None]


def test_each_reward_is_compared_with_the_mean_of_the_others() -> None:
    # 1 - 1/3, 0 - 2/3, 0 - 2/3, 1 - 1/3
    assert leave_one_out([1.0, 0.0, 0.0, 1.0]) == pytest.approx([2 / 3, -2 / 3, -2 / 3, 2 / 3])


def test_an_unknown_reward_gets_no_credit_and_counts_in_no_mean() -> None:
    assert leave_one_out([None, 1.0, 0.0]) == [0.0, 1.0, -1.0]
    assert leave_one_out([1.0, None, None]) == [0.0, 0.0, 0.0]  # nothing to compare it with


def test_the_bonus_pays_for_corrections_and_charges_for_spoilt_answers() -> None:
    cases = {(0.0, 1.0): 3.0, (1.0, 0.0): -2.0, (1.0, 1.0): 1.0, (0.0, 0.0): 0.0}
    for (first, second), shaped in cases.items():
        assert rewards_of_stage(first, second, TWO, stage=2) == (first, shaped)


def test_credit_for_the_whole_chain_makes_a_right_first_attempt_cost_the_bonus() -> None:
    whole = ScoreObjective(alpha=2.0, first_credit=1.0)
    assert rewards_of_stage(0.0, 1.0, whole, stage=2) == (3.0, 3.0)
    assert rewards_of_stage(1.0, 1.0, whole, stage=2) == (2.0, 1.0)  # less than after a wrong first attempt


def test_a_bonus_over_an_unknown_first_attempt_is_unknown() -> None:
    assert rewards_of_stage(None, 1.0, TWO, stage=2) == (None, None)
    assert rewards_of_stage(None, 1.0, ScoreObjective(alpha=0.0), stage=2) == (None, 1.0)
    assert rewards_of_stage(None, 1.0, TWO, stage=1) == (None, 1.0)
    assert rewards_of_stage(1.0, None, TWO, stage=2) == (1.0, None)


def test_stage_one_credits_the_second_attempt_alone_and_holds_the_first() -> None:
    assert group_credit([(0.0, 1.0), (1.0, 0.0)], TWO, stage=1) == [
        (AttemptCredit(0.0, 5.0), AttemptCredit(1.0, 0.25)),
        (AttemptCredit(0.0, 5.0), AttemptCredit(-1.0, 0.25)),
    ]


def test_stage_two_credits_both_and_prices_them_alike() -> None:
    # attempt 2: 3 - (-2 + 1) / 2, -2 - (3 + 1) / 2, 1 - (3 - 2) / 2; attempt 1: 0 - 1, 1 - 1/2, 1 - 1/2
    assert group_credit([(0.0, 1.0), (1.0, 0.0), (1.0, 1.0)], TWO, stage=2) == [
        (AttemptCredit(-1.0, 0.25), AttemptCredit(3.5, 0.25)),
        (AttemptCredit(0.5, 0.25), AttemptCredit(-4.0, 0.25)),
        (AttemptCredit(0.5, 0.25), AttemptCredit(0.5, 0.25)),
    ]
