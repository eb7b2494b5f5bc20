"""transformers' Trainer with another step: draw two attempts at each problem with the current weights, credit
them, and learn from them once.

TRL's GRPOTrainer draws one completion a prompt; two turns need its experimental `rollout_func`, and stage one
a loss of its own. So the loop, the optimizer, the checkpoints and the resumption are Trainer's, the draws are
those of the engine of every other command, and what is new is `training_step`. Draws follow from the weights
and the seed (`data_gen.records.draw_keys`), so a resumed training makes those that it would have made.
"""

import asyncio
import copy
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments

from data_gen.grading.graders import Grader
from data_gen.models.prompt_layout import PromptLayout
from data_gen.policies.engine.transformers_policy import TransformersPolicy
from data_gen.records.solutions import Problem
from prm_train.self_correction.chains import ChainDrawer, DrawnAttempt, TwoAttempts
from prm_train.self_correction.credit import AttemptCredit, group_credit, reward
from prm_train.self_correction.losses import attempt_losses
from prm_train.self_correction.settings import TrainScoreConfig

# Chains share little but the prompts of a problem, and weights change with each step
PREFIX_CACHE_BYTES = 2**28
Credited = tuple[DrawnAttempt, AttemptCredit]


@dataclass(frozen=True)
class PaddedAttempts:
    """Attempts of one pass, padded on the right: causal attention never looks there."""

    input_ids: Tensor  # (B, T)
    is_written: Tensor  # (B, T): False for prompts and padding
    n_prompt: int  # positions that are prompt in every row

    @property
    def n_kept(self) -> int:
        """Positions, from the end, whose logits choose something."""
        return self.input_ids.shape[1] - self.n_prompt + 1


def padded(attempts: Sequence[DrawnAttempt], pad_id: int, device: Any) -> PaddedAttempts:
    length = max(len(each.prompt_ids) + len(each.token_ids) for each in attempts)
    ids = torch.full((len(attempts), length), pad_id)
    is_written = torch.zeros((len(attempts), length), dtype=torch.bool)
    for row, each in enumerate(attempts):
        start, end = len(each.prompt_ids), len(each.prompt_ids) + len(each.token_ids)
        ids[row, :end] = torch.tensor(each.prompt_ids + each.token_ids)
        is_written[row, start:end] = True
    n_prompt = min(len(each.prompt_ids) for each in attempts)
    return PaddedAttempts(ids.to(device), is_written.to(device), n_prompt)


def frozen_policy(model: Any, tokenizer: Any, config: TrainScoreConfig) -> TransformersPolicy:
    """A policy of a copy of the model's weights as they are now."""
    return TransformersPolicy(
        copy.deepcopy(model),
        tokenizer,
        base_seed=config.seed,
        prompt=PromptLayout(config.prompts.first),
        prefix_cache_bytes=PREFIX_CACHE_BYTES,
    )


class ScoreTrainer(Trainer):
    """Trains on `problems`; `base` is the model that the KL is to, which is not trained."""

    def __init__(
        self,
        model: Any,
        base: Any,
        tokenizer: Any,
        arguments: TrainingArguments,
        config: TrainScoreConfig,
        problems: Sequence[Problem],
        grader: Grader,
    ) -> None:
        numbers: Any = [{"number": number} for number in range(len(problems))]
        super().__init__(model=model, args=arguments, train_dataset=numbers)
        self.base = base.eval().requires_grad_(False).to(self.args.device)
        self.tokenizer, self.config, self.problems, self.grader = tokenizer, config, problems, grader
        self.sums: dict[str, float] = defaultdict(float)
        self.n_summed = 0

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """The loss of the step, divided by its chains."""
        stage = 1 if self.state.global_step < self.config.stage_1_steps else 2
        problems = [self.problems[int(number)] for number in inputs["number"]]
        groups = asyncio.run(self._drawer(model).draw(problems, self.config.chains_per_problem))
        n_chains = sum(len(group) for group in groups)
        model.train()
        total, kl = torch.zeros((), device=self.args.device), [0.0, 0.0]
        for place, batch in self._batches(groups, stage):
            loss, nats = self._losses(model, batch)
            self.accelerator.backward(loss / n_chains)
            total += loss.detach() / n_chains
            kl[place] += nats / n_chains
        self._count(groups, kl)
        return total

    def _drawer(self, model: Any) -> ChainDrawer:
        policy = frozen_policy(self.accelerator.unwrap_model(model), self.tokenizer, self.config)
        return ChainDrawer(policy, self.grader, self.config.params, self.config.prompts)

    def _batches(
        self, groups: Sequence[Sequence[TwoAttempts]], stage: int
    ) -> Iterator[tuple[int, list[Credited]]]:
        """Attempts that are learnt from, first ones (0) and second ones (1) apart, of like lengths."""
        places: tuple[list[Credited], list[Credited]] = ([], [])
        for group in groups:
            rewards = [(reward(chain.verdicts[0]), reward(chain.verdicts[1])) for chain in group]
            for chain, credits in zip(group, group_credit(rewards, self.config, stage), strict=True):
                for place, attempt in enumerate(chain.attempts):
                    if credits[place].is_learnt:
                        places[place].append((attempt, credits[place]))
        for place, credited in enumerate(places):
            credited.sort(key=lambda each: len(each[0].prompt_ids) + len(each[0].token_ids))
            for start in range(0, len(credited), self.config.batch_size):
                yield place, credited[start : start + self.config.batch_size]

    def _losses(self, model: Any, batch: Sequence[Credited]) -> tuple[Tensor, float]:
        """Sums over the attempts of their losses and of their KL."""
        device = self.args.device
        rows = padded([attempt for attempt, _ in batch], self.tokenizer.pad_token_id or 0, device)
        advantages = torch.tensor([credit.advantage for _, credit in batch], device=device)
        prices = torch.tensor([credit.kl_price for _, credit in batch], device=device)
        options = {"input_ids": rows.input_ids, "logits_to_keep": rows.n_kept, "use_cache": False}
        logits = model(**options).logits[:, :-1] / self.config.temperature
        base_logits = None
        if prices.any():
            with torch.no_grad():
                base_logits = self.base(**options).logits[:, :-1] / self.config.temperature
        chosen, is_written = rows.input_ids[:, rows.n_prompt :], rows.is_written[:, rows.n_prompt :]
        losses, kl = attempt_losses(logits, base_logits, chosen, is_written, advantages, prices)
        self.sums["tokens/trained"] += float(sum(len(a.prompt_ids) + len(a.token_ids) for a, _ in batch))
        self.sums["tokens/by_base"] += float(rows.input_ids.numel()) if prices.any() else 0.0
        return losses.sum(), float(kl.detach().sum())

    def _count(self, groups: Sequence[Sequence[TwoAttempts]], kl: Sequence[float]) -> None:
        """Add the step's means to those since the last entry of the curves."""
        chains = [chain for group in groups for chain in group]
        pairs = [chain.verdicts for chain in chains]
        n = len(pairs)
        means = {
            "attempts/accuracy_1": sum(first.is_correct for first, _ in pairs) / n,
            "attempts/accuracy_2": sum(second.is_correct for _, second in pairs) / n,
            "attempts/unknown_1": sum(first.is_unknown for first, _ in pairs) / n,
            "attempts/unknown_2": sum(second.is_unknown for _, second in pairs) / n,
            "attempts/same": sum(c.second is not None and c.second.text == c.first.text for c in chains) / n,
            "attempts/kl_1": kl[0],
            "attempts/kl_2": kl[1],
        }
        usages = [attempt.usage for chain in chains for attempt in chain.attempts]
        means["tokens/generated"] = float(sum(usage.n_generated for usage in usages))
        means["tokens/prompts"] = float(sum(usage.n_prefilled for usage in usages))
        for name, value in means.items():
            self.sums[name] += value
        self.n_summed += 1

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's entry, and the means of the steps since the last one."""
        if self.n_summed:
            logs = logs | {name: value / self.n_summed for name, value in self.sums.items()}
            self.sums.clear()
            self.n_summed = 0
        super().log(logs, start_time)
