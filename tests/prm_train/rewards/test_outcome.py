import pickle
from collections import defaultdict

import pytest

from data_gen.grading.graders import MathGrader
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.settings.errors import InputError
from prm_train.rewards import OutcomeReward

EOS = 1
PROMPTS = [[{"role": "user", "content": "Start with 3: plus 4, minus 2."}]] * 5
COMPLETIONS = [
    "3 plus 4=7\n7 minus 2=5\nAnswer: 7 5\n",
    "3 plus 4=8\nAnswer: 8 6",
    "I do not know.",
    "3 plus 4=7\nAnswer: 7",
    [{"role": "assistant", "content": "3 plus 4=7\n7 minus 2=5\nAnswer: 7 5\n"}],
]
# The fourth was cut before it had all values
IDS = [[5, EOS], [5, EOS], [5, EOS], [5, 5], [5, EOS]]
GOLD = ["7 5"] * 5


def test_a_verdict_is_1_or_0_and_an_unknown_one_is_none():
    logged = defaultdict(list)
    reward = OutcomeReward(ArithmeticGrader(), eos_ids=[EOS])
    found = reward(
        prompts=PROMPTS,
        completions=COMPLETIONS,
        completion_ids=IDS,
        gold_answer=GOLD,
        log_metric=lambda name, value: logged[name].append(value),
        trainer_state=None,
    )
    assert found == [1.0, 0.0, None, None, 1.0]
    assert reward.work.unknown == {"no_answer": 1, "truncated": 1}
    assert (reward.work.n_calls, reward.work.n_completions) == (1, 5)
    assert logged["outcome/unknown_share"] == [0.4]
    assert logged["outcome/completions"] == [5]
    assert logged["outcome/seconds"] == [reward.work.seconds] != [0]


def test_reasons_that_are_to_count_as_wrong_do():
    reward = OutcomeReward("arithmetic", eos_ids=[EOS], wrong_reasons=["no_answer"])
    assert reward(PROMPTS, COMPLETIONS, IDS, gold_answer=GOLD) == [1.0, 0.0, 0.0, None, 1.0]


def test_without_eos_ids_every_completion_counts_as_ended():
    reward = OutcomeReward("arithmetic")
    assert reward(PROMPTS, COMPLETIONS, IDS, gold_answer=GOLD) == [1.0, 0.0, None, 0.0, 1.0]


def test_columns_have_the_names_that_the_dataset_gives_them():
    reward = OutcomeReward("math", gold_column="solution", question_column="problem")
    found = reward(
        ["<|user|>How much?<|end|>"] * 2,
        ["So it is \\boxed{1/2}.", "So it is \\boxed{3}."],
        problem=["How much?"] * 2,
        solution=["0.5", "0.5"],
    )
    assert found == [1.0, 0.0]
    with pytest.raises(InputError, match="columns problem, solution; expected 'gold_answer'"):
        OutcomeReward("math")(["How much?"], ["2"], problem=["How much?"], solution=["2"])
    with pytest.raises(InputError, match="neither a column 'question' nor prompts that are messages"):
        OutcomeReward("math")(["How much?"], ["2"], gold_answer=["2"])


def test_verdicts_are_found_among_rewards():
    rewards = [[0.1, 1.0], [0.1, float("nan")]]
    assert OutcomeReward.verdicts([len, OutcomeReward("math")], rewards) == [1.0, None]
    assert OutcomeReward.verdicts([len], rewards) is None


def test_a_reward_that_names_its_grader_is_pickled_after_use_too():
    reward = OutcomeReward("math")
    arguments = [[{"role": "user", "content": "?"}]], ["The answer is 2."]
    assert reward(*arguments, gold_answer=["2"]) == [1.0]
    assert pickle.loads(pickle.dumps(reward))(*arguments, gold_answer=["2"]) == [1.0]
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(OutcomeReward(MathGrader()))
