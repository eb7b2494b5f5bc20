"""An ORM from pairs of a right and a wrong solution of one question (Bradley-Terry), trained by TRL's
RewardTrainer.

    loss = -log sigmoid(logit of the right solution - logit of the wrong one)

A pair compares inside a question, so nothing is earned by telling easy questions from hard ones, which is
much of what labels of single solutions teach. For the same reason the logits have no zero point: Platt
scaling on validation solutions gives them one, for whoever needs a score in [0, 1] (`load_scorer`). The
checkpoint itself says problem_type regression, so that servers return the logit, a reward.

What TRL's trainer does by itself and is kept from here: rows longer than its max_length vanish without a word
(`prm_train.examples.examples` counts them), texts get an EOS and chats do not (it is given ids, those of our
encoding), EOS becomes padding where there is none (the encoding has its own), all dropout is switched off,
that of LoRA too, and the head computes in bfloat16, where close scores tie (`Float32Head`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl import RewardConfig
from trl import RewardTrainer as BradleyTerryTrainer

from data_gen.rows.layouts import OrmPair
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.batches import Batching, Collator
from prm_train.examples.examples import Example
from prm_train.examples.outcome import Pair, pairs_of_rows, pairs_within_questions
from prm_train.kinds.orm import ORM
from prm_train.metrics.validation import outcome_metrics
from prm_train.training.arguments import trl_arguments
from prm_train.training.reward_trainer import head_at_its_rate
from prm_train.training.scorer_training import OrmTraining


@dataclass(frozen=True)
class PairTraining(OrmTraining):
    """An ORM from pairs. Raises InputError for rows with earlier attempts."""

    def __post_init__(self) -> None:
        if self.has_attempts:
            raise InputError(
                f"{self.config.rows}: rows with earlier attempts, which differ in them, so that pairs would "
                "too; expected objective "
                "pointwise"
            )

    def arguments(self) -> RewardConfig:
        return trl_arguments(self.config, RewardConfig, disable_dropout=False)

    def pairs(self, solutions: Sequence[Example], encoding: ScorerEncoding) -> list[Pair]:
        """The rows that are pairs themselves, or pairs that are made of the single solutions of a
        question.
        """
        given = [row for row in self.rows if isinstance(row, OrmPair)]
        if given:
            return pairs_of_rows(given, solutions, encoding)
        return pairs_within_questions(solutions, self.config.max_pairs_per_question, self.config.seed)

    def trainer(
        self,
        model: Any,
        arguments: Any,
        encoding: ScorerEncoding,
        training: Sequence[Example],
        validation: Sequence[Example],
    ) -> "PairTrainer":
        pairs = self.pairs(training, encoding), self.pairs(validation, encoding) if validation else []
        return PairTrainer(model, arguments, encoding, pairs, validation, self.config.head_learning_rate)

    def facts(self, encoding: ScorerEncoding) -> CheckpointFacts:
        return ORM.facts(encoding, is_reward=True, has_attempts=False)


class PairTrainer(BradleyTerryTrainer):
    """TRL's trainer on pairs of examples, with the metrics of a pointwise ORM on the single solutions of the
    validation set.

    A forward pass has `batch_size` pairs, twice as many rows; its loss is a mean over pairs, so steps of
    `n_accumulated` equally large passes are exact. `pairs` are those to train on and those to validate on.
    Raises ValueError on several GPUs in one process.
    """

    def __init__(
        self,
        model: Any,
        arguments: RewardConfig,
        encoding: ScorerEncoding,
        pairs: tuple[Sequence[Pair], Sequence[Pair]],
        validation: Sequence[Example],
        head_learning_rate: float | None = None,
    ) -> None:
        self.head_learning_rate = head_learning_rate
        self.validation = sorted(validation, key=lambda example: len(example.input_ids))
        training_pairs, validation_pairs = pairs
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=as_dataset(training_pairs),
            eval_dataset=as_dataset(validation_pairs) if validation_pairs else None,
            processing_class=encoding.tokenizer,
        )
        self.collator = Collator(
            "orm", encoding.tokenizer.pad_token_id, Batching(2 * arguments.per_device_eval_batch_size)
        )

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new and self.head_learning_rate is not None:
            head_at_its_rate(optimizer, self.model, self.head_learning_rate)
        return optimizer

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's loss and accuracy of the pairs; with those of validation, how the single solutions are
        ranked.
        """
        if "eval_loss" in logs:
            logits, solutions = self.validation_logits()
            labels = np.array([example.targets[-1] for example in solutions])
            found = outcome_metrics(
                np.concatenate(logits), labels, [example.question for example in solutions]
            )
            logs |= {
                f"eval_{name}": value for name, value in found.items() if name.endswith(("auroc", "accuracy"))
            }
        super().log(logs, start_time)

    def validation_logits(self) -> tuple[list[np.ndarray], list[Example]]:
        """The logit of each validation solution (1,), and the solutions, on every process alike."""
        found: list[np.ndarray] = []
        self.model.eval()
        for batch in self.collator(self.validation)["batches"] if self.validation else ():
            with torch.no_grad(), self.compute_loss_context_manager():
                logits = self.model_wrapped(input_ids=batch["input_ids"].to(self.args.device)).logits
            found += list(logits.float().cpu().numpy())
        return found, self.validation


def as_dataset(pairs: Sequence[Pair]) -> Dataset:
    """Rows as TRL takes them without encoding anything itself."""
    return Dataset.from_list(
        [
            {"chosen_ids": list(pair.chosen.input_ids), "rejected_ids": list(pair.rejected.input_ids)}
            for pair in pairs
        ]
    )
