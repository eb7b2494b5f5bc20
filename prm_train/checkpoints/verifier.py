"""A generative verifier on disk: what it asks, its two words, and its language model read as a token classifier."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from data_gen.models.pretrained import load_model, load_model_config
from data_gen.models.tokenizer import load_tokenizer
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts, read_facts_of
from prm_train.encoding.aggregation import Aggregation
from prm_train.encoding.paths import EncodingFacts, ScorerEncoding
from prm_train.networks.word_classifier import as_classifier

WORDS = ((" Yes", " No"), ("Yes", "No"))  # the first pair whose first tokens differ; most tokenizers have words with their space


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


def load_verdict_classifier(path: str, dtype: str, trust_remote_code: bool = False) -> tuple[Any, VerdictEncoding, VerifierFacts]:
    """Raises InputError if `train-verifier` did not write it."""
    facts = read_facts_of(load_model_config(path, trust_remote_code), VerifierFacts)
    model = load_model(AutoModelForCausalLM, path, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code)
    encoding = VerdictEncoding(load_tokenizer(path, trust_remote_code), facts.encoding, facts.ask, facts.yes, facts.no)
    return as_classifier(model, *encoding.word_ids), encoding, facts
