"""verl's reward manager and advantage estimator; tried against the classes of verl 0.9.1, not in a training.
Outcomes are what verl's own reward function gives, None or NaN where unknown. In a file of yours subclass it,
`class Manager(StepCreditRewardManager): step_credit = StepCredit("runs/prm", "min")`, and give verl
reward.reward_manager.source=importlib, .name=Manager, .module.path=FILE, algorithm.adv_estimator=step_credit.
Scoring in the rollout gives one number a completion, the sum of its rewards; with a colocated reward model,
one a token. Forms that compare a group cannot be here."""

import math
from typing import Any, ClassVar

import torch
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
from verl.trainer.ppo.core_algos import register_adv_est

from data_gen.settings.errors import InputError
from prm_train.rewards.credit import StepCredit
from prm_train.rewards.group_credit import rewards_of_one
from prm_train.rewards.step_spans import at_step_ends
from prm_train.rewards.texts import question_texts
from prm_train.rewards.token_returns import token_returns


@register_adv_est("step_credit")
def step_credit(token_level_rewards: Any, response_mask: Any, index: Any, **_: Any) -> tuple[Any, Any]:
    return (found := token_returns(token_level_rewards, response_mask, list(index))), found


class StepCreditRewardManager(NaiveRewardManager):
    step_credit: ClassVar[StepCredit]

    async def run_single(self, data: Any) -> dict[str, Any]:
        if (got := self.config.algorithm.adv_estimator) != "step_credit":
            raise InputError(f"algorithm.adv_estimator: got {got}, expected step_credit: it knows unknowns")
        result, item, credit = await super().run_single(data), data[-1], self.step_credit
        n_tokens = int(item.batch["attention_mask"][-len(item.batch["responses"]) :].sum())
        questions = question_texts([item.non_tensor_batch["raw_prompt"]], {}, credit.question_column)
        scored = await credit.gather(self.tokenizer, questions, [item.batch["responses"][:n_tokens].tolist()])
        outcome = math.nan if result["reward_score"] is None else float(result["reward_score"])
        rewards = rewards_of_one(credit.rules, None if outcome != outcome else outcome, scored.scores[0])
        tokens = [math.nan] * n_tokens if rewards is None else at_step_ends(rewards, scored.steps[0]).tolist()
        known = {"acc": outcome, "n_steps": len(scored.steps[0].texts), "is_known": rewards is not None}
        score = tokens if self.config.reward.reward_model.enable else sum(tokens)
        return {"reward_score": score, "reward_extra_info": known}

    @classmethod
    def assemble_rm_scores(cls, data: Any, scores: list[list[float]]) -> Any:
        rewards = torch.zeros(data.batch["responses"].shape)
        for row, own in zip(rewards, scores, strict=True):
            row[: len(own)] = torch.tensor(own)
        return rewards
