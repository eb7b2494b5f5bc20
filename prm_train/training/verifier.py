"""Generative verifier: a language model that is asked after each step whether all is right so far, and answers in a word.

The preset for SFT (TRL's SFTTrainer) from PRM rows, near to ThinkPRM (Khalifa et al. 2025) and GenRM (Zhang et al. 2024) without their
written critique, which rows with labels alone do not hold. One row is one text, and the loss is on the words behind the question marks::

    <|user|>Start with 3: plus 4, times 2.<|end|><|assistant|>Right so far? Yes
    3 plus 4 = 7
    Right so far? Yes
    7 times 2 = 15
    Right so far? No

The text ends with its first No, since what follows an error has no label; so the verdicts before a step are always Yes, and the score of a
step is p(Yes) / (p(Yes) + p(No)) = sigmoid(logit(Yes) - logit(No)) where its verdict would stand: the probability that the step is right if
all before are. That is a token classifier whose head is two rows of the language model's, which is how it is scored: incrementally, by
`prm_train.scoring.incremental`. Words of several tokens are told apart by their first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from trl import SFTConfig

from prm_train.checkpoints.facts import write_facts
from prm_train.checkpoints.verifier import VerdictEncoding, load_verdict_classifier, verdict_encoding
from prm_train.examples.batches import Batching, Collator
from prm_train.examples.examples import Example
from prm_train.examples.unlabeled import UNLABELED
from prm_train.training.config import TrainingConfig
from prm_train.training.language_model import build_language_model, whole_language_model
from prm_train.training.parity import Parity, compare_scores, scores_of
from prm_train.training.run import Task, training_arguments
from prm_train.training.sft_trainer import GroupedSFTTrainer
from prm_train.training.validation import step_metrics


def sft_row(example: Example, encoding: VerdictEncoding) -> dict[str, list[int]]:
    """The text with its last verdict, and labels on the verdicts of labeled steps alone."""
    words = [encoding.encode_text(encoding.yes if target else encoding.no) for target in example.targets]
    input_ids = [*example.input_ids, *words[-1]]
    labels = [int(UNLABELED)] * len(input_ids)
    for position, word in zip(example.positions, words, strict=True):
        labels[position + 1 : position + 1 + len(word)] = word
    assert all(label in (UNLABELED, token) for label, token in zip(labels, input_ids, strict=True))
    return {"input_ids": input_ids, "labels": labels}


class VerifierTrainer(GroupedSFTTrainer):
    """TRL's trainer on verdict texts, with the metrics of a PRM on validation steps, of which p(Yes) is the score."""

    def __init__(
        self, model: Any, arguments: SFTConfig, encoding: VerdictEncoding, training: Sequence[Example], validation: Sequence[Example]
    ) -> None:
        self.encoding = encoding
        self.validation = sorted(validation, key=lambda example: len(example.input_ids))
        rows = ([sft_row(example, encoding) for example in examples] for examples in (training, validation))
        super().__init__(model, arguments, encoding.tokenizer, *rows)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "eval_loss" in logs:
            found = step_metrics(*self.validation_logits())
            logs |= {f"eval_{name}": value for name, value in found.items() if name != "loss"}
        super().log(logs, start_time)

    def validation_logits(self) -> tuple[list[np.ndarray], list[Example]]:
        """The log-odds of Yes at the labeled steps of the validation examples (S,) each, and the examples, on every process alike."""
        collator = Collator("prm", self.encoding.tokenizer.pad_token_id or 0, Batching(self.args.per_device_eval_batch_size))
        no, yes = self.encoding.word_ids
        found: list[np.ndarray] = []
        self.model.eval()
        for batch in collator(self.validation)["batches"]:
            is_labeled = batch["labels"] != UNLABELED
            with torch.no_grad(), self.compute_loss_context_manager():
                logits = self.model_wrapped(input_ids=batch["input_ids"].to(self.args.device)).logits[is_labeled.to(self.args.device)]
            found += [row.numpy() for row in (logits[:, yes] - logits[:, no]).float().cpu().split(is_labeled.sum(1).tolist())]
        return found, self.validation


@dataclass(frozen=True)
class VerifierTask(Task):
    """A training from PRM rows to a language model that says Yes and No."""

    ask: str

    def arguments(self, config: TrainingConfig, folder: Path) -> SFTConfig:
        return training_arguments(
            config,
            folder,
            SFTConfig,
            per_device_train_batch_size=config.batch_size,
            per_device_eval_batch_size=config.batch_size,
            gradient_accumulation_steps=config.n_accumulated,
            max_length=None,
        )

    def build(self, config: TrainingConfig) -> tuple[Any, VerdictEncoding]:
        model, encoding = build_language_model(config)
        return model, verdict_encoding(encoding.tokenizer, encoding.facts, self.ask)

    def trainer(
        self, model: Any, arguments: Any, encoding: Any, data: tuple[list[Example], list[Example]], config: TrainingConfig
    ) -> VerifierTrainer:
        return VerifierTrainer(model, arguments, encoding, *data)

    def save(self, trainer: Any, encoding: Any, rows: Sequence[Example], config: TrainingConfig) -> Parity | None:
        """The language model, and whether it scores `rows` as in memory when it is loaded as a token classifier."""
        with trainer.compute_loss_context_manager():
            trained = word_scores(trainer.model_wrapped, encoding, rows)
        model = whole_language_model(trainer, config)
        if model is None:
            return None
        whole = word_scores(model, encoding, rows) if config.quantization != "none" else None
        write_facts(self.facts(encoding), model.config)
        model.config.use_cache = True
        model.save_pretrained(config.output)
        encoding.tokenizer.save_pretrained(config.output)
        loaded, _, _ = load_verdict_classifier(str(config.output), "float64" if config.dtype == "float64" else "float32")
        return compare_scores(trained, scores_of(loaded, "prm", rows), config, len(rows), whole)


@torch.no_grad()
def word_scores(model: Any, encoding: VerdictEncoding, rows: Sequence[Example]) -> list[float]:
    """The score of each step of the rows by a language model. Leaves it in evaluation mode."""
    model.eval()
    device = next(model.parameters()).device
    no, yes = encoding.word_ids
    found: list[float] = []
    for row in rows:
        logits = model(input_ids=torch.tensor([row.input_ids], device=device)).logits[0, list(row.positions)].double()
        found += torch.sigmoid(logits[:, yes] - logits[:, no]).tolist()
    return found
