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
`prm_train.incremental`. Words of several tokens are told apart by their first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from trl import SFTConfig

from data_gen.config import InputError
from data_gen.pretrained import load_model, load_model_config
from data_gen.rows import PrmRow
from data_gen.tokenizer import load_tokenizer
from prm_train.aggregation import Aggregation
from prm_train.checkpoints import CheckpointFacts, read_facts_of, write_facts
from prm_train.collators import Batching, Collator
from prm_train.encoding import EncodingFacts, ScorerEncoding
from prm_train.examples import Example, ExampleSet, prm_examples
from prm_train.language_models import build_language_model, whole_language_model
from prm_train.losses import UNLABELLED
from prm_train.parity import Parity, compare_scores, scores_of
from prm_train.sft_trainer import GroupedSFTTrainer
from prm_train.targets import LabelAlgebra
from prm_train.training_config import TrainingConfig
from prm_train.training_run import Task, training_arguments
from prm_train.validation import step_metrics
from prm_train.word_classifier import as_classifier

WORDS = ((" Yes", " No"), ("Yes", "No"))  # the first pair whose first tokens differ; most tokenizers have words with their space
ALGEBRA = LabelAlgebra(until_first_error=True)  # hard labels: what follows a No is not asked


@dataclass(frozen=True, kw_only=True)
class VerifierFacts(CheckpointFacts):
    """What is asked after the question and each step, the two answers, and their first tokens: of No, of Yes."""

    ask: str
    yes: str
    no: str
    verdict_ids: tuple[int, int]


@dataclass(frozen=True)
class VerdictEncoding(ScorerEncoding):
    """A path with the question `ask` behind it and behind each of its steps; a step begins with the Yes to the question before it."""

    ask: str
    yes: str
    no: str

    @property
    def word_ids(self) -> tuple[int, int]:
        """The first tokens of No and Yes."""
        return self.encode_text(self.no)[0], self.encode_text(self.yes)[0]

    def encode_head(self, question: str) -> tuple[int, ...]:
        return (*super().encode_head(question), *self.encode_text(self.ask))

    def encode_piece(self, piece: str) -> tuple[int, ...]:
        return (*self.encode_text(self.yes), *self.encode_text(f"\n{piece}{self.facts.step_separator}{self.ask}"))


def verdict_encoding(tokenizer: Any, facts: EncodingFacts, ask: str) -> VerdictEncoding:
    """With the words that the tokenizer tells apart by their first token. Raises InputError where it tells none apart."""
    for yes, no in WORDS:
        encoding = VerdictEncoding(tokenizer, facts, ask, yes, no)
        if encoding.word_ids[0] != encoding.word_ids[1]:
            return encoding
    raise InputError(
        f"model {tokenizer.name_or_path}: its tokenizer begins {WORDS[0][0]!r} and {WORDS[0][1]!r} with the same token, and so {WORDS[1]}; "
        "expected other first tokens, by which the two answers are told apart"
    )


def verifier_facts(encoding: ScorerEncoding, aggregation: Aggregation) -> VerifierFacts:
    """Of a checkpoint that was trained with a VerdictEncoding."""
    assert isinstance(encoding, VerdictEncoding)
    label = "whether the step is right, as the rows' labels say, if all before it are"
    ask, yes, no = encoding.ask, encoding.yes, encoding.no
    return VerifierFacts("generative_verifier", encoding.facts, label, aggregation, ask=ask, yes=yes, no=no, verdict_ids=encoding.word_ids)


def verdict_examples(rows: Sequence[PrmRow], encoding: ScorerEncoding, max_length: int) -> ExampleSet:
    """One example a row, up to its first error or its last label; positions are those before the verdicts. Raises as `prm_examples`."""
    assert isinstance(encoding, VerdictEncoding)
    n_reserved = max(len(encoding.encode_text(word)) for word in (encoding.yes, encoding.no))
    return prm_examples(rows, encoding, ALGEBRA, max_length - n_reserved)


def sft_row(example: Example, encoding: VerdictEncoding) -> dict[str, list[int]]:
    """The text with its last verdict, and labels on the verdicts of labelled steps alone."""
    words = [encoding.encode_text(encoding.yes if target else encoding.no) for target in example.targets]
    input_ids = [*example.input_ids, *words[-1]]
    labels = [int(UNLABELLED)] * len(input_ids)
    for position, word in zip(example.positions, words, strict=True):
        labels[position + 1 : position + 1 + len(word)] = word
    assert all(label in (UNLABELLED, token) for label, token in zip(labels, input_ids, strict=True))
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
        """The log-odds of Yes at the labelled steps of the validation examples (S,) each, and the examples, on every process alike."""
        collator = Collator("prm", self.encoding.tokenizer.pad_token_id or 0, Batching(self.args.per_device_eval_batch_size))
        no, yes = self.encoding.word_ids
        found: list[np.ndarray] = []
        self.model.eval()
        for batch in collator(self.validation)["batches"]:
            is_labelled = batch["labels"] != UNLABELLED
            with torch.no_grad(), self.compute_loss_context_manager():
                logits = self.model_wrapped(input_ids=batch["input_ids"].to(self.args.device)).logits[is_labelled.to(self.args.device)]
            found += [row.numpy() for row in (logits[:, yes] - logits[:, no]).float().cpu().split(is_labelled.sum(1).tolist())]
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


def load_verdict_classifier(path: str, dtype: str, trust_remote_code: bool = False) -> tuple[Any, VerdictEncoding, VerifierFacts]:
    """Raises InputError if `train-verifier` did not write it."""
    facts = read_facts_of(load_model_config(path, trust_remote_code), VerifierFacts)
    model = load_model(AutoModelForCausalLM, path, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code)
    encoding = VerdictEncoding(load_tokenizer(path, trust_remote_code), facts.encoding, facts.ask, facts.yes, facts.no)
    return as_classifier(model, *encoding.word_ids), encoding, facts
