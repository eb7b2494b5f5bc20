"""SkyRL's generator with credit for steps; tried against the classes of SkyRL 0.3, not in a training.
`StepCreditGenerator(generator, step_credit, tokenizer)` goes to the trainer in place of `generator`, with
trainer.algorithm.advantage_estimator=step_credit and no zero_variance_filter. Its rewards of tokens are
advantages already, so SkyRL's own reward metrics say nothing: outcomes and the rest are in the rollout
metrics. A reward that is NaN is unknown; what is excluded is masked. Evaluations pass through.
"""

import math
from typing import Any

import numpy as np
from skyrl.backends.skyrl_train.utils.ppo_utils import register_advantage_estimator
from skyrl.train.generators.base import GeneratorInterface

from prm_train.rewards.credit import StepCredit
from prm_train.rewards.step_spans import per_token
from prm_train.rewards.texts import question_texts


@register_advantage_estimator("step_credit")
def step_credit(token_level_rewards: Any, response_mask: Any, **_: Any) -> tuple[Any, Any]:
    return token_level_rewards * response_mask, token_level_rewards * response_mask


class StepCreditGenerator(GeneratorInterface):
    def __init__(self, generator: GeneratorInterface, step_credit: StepCredit, tokenizer: Any) -> None:
        self.generator, self.step_credit, self.tokenizer = generator, step_credit, tokenizer

    async def generate(self, input_batch: Any) -> Any:
        output = await self.generator.generate(input_batch)
        if input_batch["batch_metadata"].training_phase == "eval":
            return output
        logged: dict[str, float] = {}
        extras = input_batch["env_extras"] or [{}]
        columns = {name: [row.get(name) for row in extras] for name in extras[0]}
        questions = question_texts(input_batch["prompts"], columns, self.step_credit.question_column)
        ids, log = output["response_ids"], logged.__setitem__
        scored = await self.step_credit.gather(self.tokenizer, questions, ids, log)
        sums = [sum(each) if isinstance(each, list) else each for each in output["rewards"]]
        outcomes = [None if math.isnan(each) else float(each) for each in sums]
        names = [each.instance_id for each in input_batch["trajectory_ids"]]
        credit = self.step_credit.credit(outcomes, scored.scores, names, log=log)
        log("outcome/mean", float(np.nanmean(sums)))
        advantages = map(per_token, credit.advantages, scored.steps)
        masks = zip(output["loss_masks"], credit.excluded, strict=True)
        return output | {
            "rewards": [each.tolist() for each in advantages],
            "loss_masks": [[0] * len(mask) if reason else mask for mask, reason in masks],
            "rollout_metrics": (output["rollout_metrics"] or {}) | logged,
        }
