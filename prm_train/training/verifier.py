"""Generative verifier: a language model that is asked after each step whether all is right so far, and
answers in a word.

The preset for SFT (TRL's SFTTrainer) from PRM rows, near to ThinkPRM (Khalifa et al. 2025) and GenRM (Zhang
et al. 2024) without their written critique, which rows with labels alone do not hold. One row is one text,
and the loss is on the words behind the question marks::

    <|user|>Start with 3: plus 4, times 2.<|end|><|assistant|>Right so far? Yes
    3 plus 4 = 7
    Right so far? Yes
    7 times 2 = 15
    Right so far? No

The text ends with its first No, since what follows an error has no label; so the verdicts before a step are
always Yes, and the score of a step is p(Yes) / (p(Yes) + p(No)) = sigmoid(logit(Yes) - logit(No)) where its
verdict would stand: the probability that the step is right if all before are. That is a token classifier
whose head is two rows of the language model's, which is how it is scored: incrementally, by
`prm_train.scoring.incremental`. Words of several tokens are told apart by their first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from trl import SFTConfig

from data_gen.rows.layouts import PrmRow
from prm_train.checkpoints.facts import CheckpointFacts, Kind
from prm_train.examples.batches import Batching, Collator
from prm_train.examples.examples import Example, ExampleSet
from prm_train.examples.unlabeled import UNLABELED
from prm_train.kinds.generative_verifier import GENERATIVE_VERIFIER, VerdictEncoding, verdict_encoding
from prm_train.metrics.validation import step_metrics
from prm_train.training.config import TrainVerifierConfig
from prm_train.training.language_model import build_language_model
from prm_train.training.save import scores_of
from prm_train.training.sft_trainer import GroupedSFTTrainer, SftTraining


@dataclass(frozen=True)
class VerifierTraining(SftTraining):
    """A language model that says Yes and No, from labeled steps."""

    rows: Sequence[PrmRow]
    config: TrainVerifierConfig
    kind: ClassVar[Kind] = "generative_verifier"

    def build(self) -> tuple[Any, VerdictEncoding]:
        model, encoding = build_language_model(self.config)
        return model, verdict_encoding(encoding.tokenizer, encoding.facts, self.config.ask)

    def examples(self, encoding: Any, max_length: int) -> ExampleSet:
        return GENERATIVE_VERIFIER.examples(self.rows, encoding, max_length)

    def trainer(
        self,
        model: Any,
        arguments: Any,
        encoding: Any,
        training: Sequence[Example],
        validation: Sequence[Example],
    ) -> "VerifierTrainer":
        return VerifierTrainer(model, arguments, encoding, training, validation)

    def facts(self, encoding: Any) -> CheckpointFacts:
        return GENERATIVE_VERIFIER.facts(encoding, self.config.aggregation)

    def scores(self, model: Any, encoding: Any, rows: Sequence[Example]) -> list[float]:
        return word_scores(model, encoding, rows)

    def scores_on_disk(self, encoding: Any, rows: Sequence[Example]) -> list[float]:
        """The checkpoint is loaded as scorers load it: as a token classifier."""
        model, _, _ = GENERATIVE_VERIFIER.load_classifier(
            str(self.config.output), "float64" if self.config.dtype == "float64" else "float32"
        )
        return scores_of(model, "prm", rows)


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
    """TRL's trainer on verdict texts, with the metrics of a PRM on validation steps, of which p(Yes) is the
    score.
    """

    def __init__(
        self,
        model: Any,
        arguments: SFTConfig,
        encoding: VerdictEncoding,
        training: Sequence[Example],
        validation: Sequence[Example],
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
        """The log-odds of Yes at the labeled steps of the validation examples (S,) each, and the examples, on
        every process alike.
        """
        collator = Collator(
            "prm", self.encoding.tokenizer.pad_token_id or 0, Batching(self.args.per_device_eval_batch_size)
        )
        no, yes = self.encoding.word_ids
        found: list[np.ndarray] = []
        self.model.eval()
        for batch in collator(self.validation)["batches"]:
            is_labeled = batch["labels"] != UNLABELED
            with torch.no_grad(), self.compute_loss_context_manager():
                logits = self.model_wrapped(input_ids=batch["input_ids"].to(self.args.device)).logits[
                    is_labeled.to(self.args.device)
                ]
            found += [
                row.numpy()
                for row in (logits[:, yes] - logits[:, no]).float().cpu().split(is_labeled.sum(1).tolist())
            ]
        return found, self.validation


@torch.no_grad()
def word_scores(model: Any, encoding: VerdictEncoding, rows: Sequence[Example]) -> list[float]:
    """The score of each step of the rows by a language model. Leaves it in evaluation mode."""
    model.eval()
    device = next(model.parameters()).device
    no, yes = encoding.word_ids
    found: list[float] = []
    for row in rows:
        logits = (
            model(input_ids=torch.tensor([row.input_ids], device=device))
            .logits[0, list(row.positions)]
            .double()
        )
        found += torch.sigmoid(logits[:, yes] - logits[:, no]).tolist()
    return found
