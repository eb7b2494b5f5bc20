"""Against verl's own classes, where verl is installed (`pip install --no-deps verl` and what it imports)."""

import asyncio
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data_gen.settings.errors import InputError
from prm_train.rewards import StepCredit
from tests.tiny_models import byte_level_tokenizer
from tests.written_scores import WrittenScores

verl = pytest.importorskip("verl", reason="verl is not installed")
from prm_train.rewards.adapters.verl import StepCreditRewardManager  # noqa: E402

TEXTS = ["3 plus 4=7\nAnswer: 7", "3 plus 4=8\nAnswer: 8", "3 plus 4=7\n!"]
SCORES = {"3 plus 4=7": 0.9, "Answer: 7": 0.6, "3 plus 4=8": 0.2, "Answer: 8": 0.4}
GOLD = "7"


def outcome(solution_str, ground_truth, **_):
    return float(solution_str.endswith(ground_truth))


def manager(form="min", colocated=False, estimator="step_credit", compute_score=outcome):
    class Manager(StepCreditRewardManager):
        step_credit = StepCredit(WrittenScores(SCORES), form, temperature=0.0)

    config = SimpleNamespace(
        algorithm=SimpleNamespace(adv_estimator=estimator),
        reward=SimpleNamespace(reward_model=SimpleNamespace(enable=colocated)),
    )

    async def make():
        return Manager(config, byte_level_tokenizer(), compute_score)

    return make


def batch():
    """Prompts of two ids, completions with EOS and padding, as verl lays them out."""
    tokenizer = byte_level_tokenizer()
    ids = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in TEXTS]
    longest = max(map(len, ids))
    responses = [own + [tokenizer.pad_token_id] * (longest - len(own)) for own in ids]
    mask = [[1, 1] + [1] * len(own) + [0] * (longest - len(own)) for own in ids]
    prompt = [{"role": "user", "content": "Start with 3: plus 4."}]
    extras = {
        "raw_prompt": [prompt] * 3,
        "data_source": ["made up"] * 3,
        "reward_model": [{"ground_truth": GOLD}] * 3,
    }
    tensors = {"prompts": [[5, 5]] * 3, "responses": responses, "attention_mask": mask}
    return ids, verl.DataProto.from_dict(
        {name: torch.tensor(rows) for name, rows in tensors.items()},
        {name: as_objects(rows) for name, rows in extras.items()},
    )


def as_objects(rows):
    found = np.empty(len(rows), dtype=object)
    found[:] = rows
    return found


def scored(make):
    ids, data = batch()

    async def score():
        own = await make()
        found = await asyncio.gather(*(own.run_single(data[n : n + 1]) for n in range(3)))
        return own, found

    own, found = asyncio.run(score())
    return ids, data, own, found


def test_in_the_rollout_a_completion_gets_the_sum_of_its_rewards_and_an_unknown_one_nan():
    _, _, _, found = scored(manager())
    # The lowest r of each, .2 and -.6, and the outcome
    assert [each["reward_score"] for each in found[:2]] == [pytest.approx(1.2), pytest.approx(-0.6)]
    assert math.isnan(found[2]["reward_score"])
    assert [each["reward_extra_info"] for each in found] == [
        {"acc": 1.0, "n_steps": 2, "is_known": True},
        {"acc": 0.0, "n_steps": 2, "is_known": True},
        {"acc": 0.0, "n_steps": 2, "is_known": False},
    ]


def test_where_a_reward_model_is_colocated_each_step_is_rewarded_at_its_last_token():
    ids, data, own, found = scored(manager(colocated=True))
    rewards = own.assemble_rm_scores(data, [each["reward_score"] for each in found])
    assert rewards.shape == data.batch["responses"].shape
    end = len(byte_level_tokenizer()("3 plus 4=8\n")["input_ids"]) - 1
    assert rewards[0].nonzero().flatten().tolist() == [len(ids[0]) - 1]
    assert rewards[0, len(ids[0]) - 1].item() == pytest.approx(1.2)
    assert rewards[1].nonzero().flatten().tolist() == [end]
    assert rewards[1, end].item() == pytest.approx(-0.6)
    assert rewards[2].isnan().any()


def test_the_estimator_is_verls_and_knows_nan():
    from verl.trainer.ppo.core_algos import get_adv_estimator_fn

    estimate = get_adv_estimator_fn("step_credit")
    rewards = torch.tensor([[0.0, 1.0], [0.0, 0.0], [math.nan, 0.0]])
    advantages, returns = estimate(
        token_level_rewards=rewards,
        response_mask=torch.ones(3, 2),
        config=None,
        index=np.array(["a", "a", "a"], dtype=object),
    )
    assert advantages.tolist() == [[1, 1], [-1, -1], [0, 0]]
    assert returns is advantages


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="adv_estimator: got grpo, expected step_credit"):
        scored(manager(estimator="grpo"))
    with pytest.raises(InputError, match="form filter: compares completions of one prompt"):
        scored(manager(form="filter"))


def test_a_reward_function_that_knows_no_outcome_says_none():
    _, _, _, found = scored(manager(compute_score=lambda **_: None))
    assert all(math.isnan(each["reward_score"]) for each in found)
