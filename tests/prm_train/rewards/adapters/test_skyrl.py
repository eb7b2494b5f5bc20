"""Against SkyRL's own classes, where SkyRL is installed. It is meant for Python 3.12; on 3.11 it imports if
`typing.TypedDict` is the one of typing_extensions, which pydantic asks for.
"""

import asyncio
import math
import sys
import typing

import pytest
import torch
import typing_extensions

from prm_train.rewards import StepCredit
from tests.tiny_models import byte_level_tokenizer
from tests.written_scores import WrittenScores

if sys.version_info < (3, 12):
    given, typing.TypedDict = typing.TypedDict, typing_extensions.TypedDict
    try:
        pytest.importorskip("skyrl.train.generators.base", reason="SkyRL is not installed")
    finally:
        typing.TypedDict = given
pytest.importorskip("skyrl.train.generators.base", reason="SkyRL is not installed")
from skyrl.backends.skyrl_train.utils.ppo_utils import AdvantageEstimatorRegistry
from skyrl.train.generators.base import BatchMetadata, GeneratorInterface, TrajectoryID

from prm_train.rewards.adapters.skyrl import StepCreditGenerator

TEXTS = ["3 plus 4=7\nAnswer: 7", "3 plus 4=8\nAnswer: 8", "3 plus 4=7", "I see"]
SCORES = {"3 plus 4=7": 0.9, "Answer: 7": 0.6, "3 plus 4=8": 0.2, "Answer: 8": 0.4}


class Written(GeneratorInterface):
    async def generate(self, input_batch):
        tokenizer = byte_level_tokenizer()
        ids = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in TEXTS]
        return {
            "prompt_token_ids": [[5]] * 4,
            "response_ids": ids,
            "rewards": [1.0, 0.0, math.nan, 1.0],
            "loss_masks": [[1] * len(own) for own in ids],
            "rollout_metrics": {"given": 1.0},
        }


def batch(phase="train"):
    names = ["a", "a", "a", "b"]
    return {
        "prompts": [[{"role": "user", "content": "Start with 3: plus 4."}]] * 4,
        "env_extras": [{"gold": "7"}] * 4,
        "trajectory_ids": [TrajectoryID(name, n) for n, name in enumerate(names)],
        "batch_metadata": BatchMetadata(global_step=1, training_phase=phase),
    }


def generated(phase="train"):
    step_credit = StepCredit(WrittenScores(SCORES), "min", temperature=0.0)
    generator = StepCreditGenerator(Written(), step_credit, byte_level_tokenizer())
    return asyncio.run(generator.generate(batch(phase)))


def test_tokens_get_the_advantage_of_their_step_and_what_is_unknown_is_masked():
    output = generated()
    lengths = [len(each) for each in output["response_ids"]]
    assert [len(each) for each in output["rewards"]] == lengths
    # Worst r .2 in the second step of the first and -.6 in the first of the second, whose mean to go is -.3
    first = len(byte_level_tokenizer()("3 plus 4=8\n")["input_ids"])
    assert output["rewards"][0] == pytest.approx([1 + 0.2 + 0.3] * lengths[0])
    assert output["rewards"][1] == pytest.approx([-1 - 0.6 - 0.2] * first + [-1 - 0.2] * (lengths[1] - first))
    assert output["rewards"][2] == [0] * lengths[2]  # nobody knows
    assert output["rewards"][3] == [0] * lengths[3]  # alone
    assert [set(mask) for mask in output["loss_masks"]] == [{1}, {1}, {0}, {1}]
    metrics = output["rollout_metrics"]
    assert (metrics["given"], metrics["outcome/mean"]) == (1.0, pytest.approx(2 / 3))
    assert metrics["step_credit/excluded/outcome_unknown"] == 0.25


def test_evaluations_pass_through():
    assert generated("eval")["rewards"][:2] == [1.0, 0.0]


def test_the_estimator_passes_advantages_on():
    estimate = AdvantageEstimatorRegistry.get("step_credit")
    rewards = torch.tensor([[0.5, -1.0, 3.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    advantages, _ = estimate(token_level_rewards=rewards, response_mask=mask, index=["a"], config=None)
    assert advantages.tolist() == [[0.5, -1, 0]]
