"""TRL's GRPOTrainer with credit for steps; tried against TRL 1.16. `OutcomeReward` and `OrmReward` are reward
functions as they are; with `StepCredit` what they give, weighted and summed, is the outcome, and each token
gets the advantage of its step: (B, T), not (B,). Groups may lie across processes: step scores are gathered.
"""

from typing import Any

import torch
from accelerate.utils import gather_object
from trl import GRPOTrainer

from data_gen.settings.errors import InputError
from prm_train.rewards.credit import StepCredit
from prm_train.rewards.group_credit import weighted_outcomes
from prm_train.rewards.outcome import OutcomeReward
from prm_train.rewards.step_spans import per_token
from prm_train.rewards.texts import row_questions


class StepCreditTrainer(GRPOTrainer):
    """Takes GRPOTrainer's arguments and `step_credit`. `scale_rewards`, group or none, scales outcomes."""

    def __init__(self, *args: Any, step_credit: StepCredit, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        got = self.scale_rewards, self.multi_objective_aggregation
        if got not in (("group", "sum_then_normalize"), ("none", "sum_then_normalize")):
            raise InputError(f"scale_rewards, multi_objective_aggregation: got {got}, expected group or none")
        self.step_credit = step_credit

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids: Any) -> Any:
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids)
        questions = row_questions(prompts, inputs, self.step_credit.question_column)
        scored = self.step_credit.score(self._tokenizer, questions, completion_ids, self._log_metric)
        scores = gather_object(list(scored.scores))
        outcomes = weighted_outcomes(rewards.tolist(), self.reward_weights.tolist())
        size = self.num_generations if self.model.training else self.num_generations_eval
        groups, scale = [n // size for n in range(len(scores))], self.scale_rewards == "group"
        verdicts, log = OutcomeReward.verdicts(self.reward_funcs, rewards.tolist()), self._log_metric
        credit = self.step_credit.credit(outcomes, scores, groups, scale=scale, verdicts=verdicts, log=log)
        own = credit.advantages[self.accelerator.process_index * len(prompts) :][: len(prompts)]
        self._step_advantages = [per_token(*each) for each in zip(own, scored.steps, strict=True)]
        return rewards

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        advantages = torch.zeros_like(output["completion_mask"], dtype=torch.float32)  # (B, T)
        for row, own in zip(advantages, self._step_advantages, strict=True):
            row[: len(own)] = torch.from_numpy(own)
        return output | {"advantages": advantages}
