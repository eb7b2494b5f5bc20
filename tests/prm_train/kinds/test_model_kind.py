"""A sixth kind, made up here: one class and the template of its card. Nothing else knows of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from data_gen.models.tokenizer import load_tokenizer
from data_gen.rows.layouts import EVIDENCE, PrmRow, write_rows
from prm_train import publish
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.encoding.paths import EncodingFacts, ScorerEncoding
from prm_train.examples.examples import ExampleSet, prm_examples
from prm_train.examples.targets import OWN_LABELS, LabelAlgebra
from prm_train.kinds.language_models import LanguageModelKind
from prm_train.kinds.load import load_checkpoint, load_scorer
from prm_train.kinds.lookup import KINDS, write_facts
from prm_train.kinds.model_kind import Checkpoint, Classifier
from prm_train.kinds.paths import EncodedPath, question_path
from prm_train.kinds.step_rows import StepRowsKind
from prm_train.networks.class_logits import log_odds_at
from prm_train.networks.word_classifier import as_classifier
from prm_train.publishing.served_parity import load_subject
from prm_train.scoring.score import score

QUESTION, STEPS = "Start with 3: plus 4, times 2.", ("3 plus 4 = 7", "7 times 2 = 14, keep 4", "Answer: 7 4")
CARD = """{% extends "model_card.md.jinja" %}
{% block summary %}
A language model in two minds: after a step the token {{ checkpoint.good_id }} is good, {{ checkpoint.bad_id }} bad.
{% endblock %}
{% block pieces %}
The scores of the path are {{ example.scores | list }}.
{% endblock %}
"""  # noqa: E501


@dataclass(frozen=True, kw_only=True)
class TwoTokenFacts(CheckpointFacts):
    bad_id: int
    good_id: int


class LineEncoding(ScorerEncoding):
    def encode_piece(self, piece: str) -> tuple[int, ...]:
        return self.encode_text(piece + self.facts.step_separator)


class TwoTokenKind(StepRowsKind, LanguageModelKind):
    """The next token after a step says whether it is good."""

    name = "two_tokens"
    title = "Step reader"
    reading = "Score of a step: softmax over bad_id and good_id behind it"
    facts_class = TwoTokenFacts

    def encoding(self, tokenizer: Any, facts: CheckpointFacts) -> LineEncoding:
        return LineEncoding(tokenizer, facts.encoding)

    def load_classifier(
        self, path: str, dtype: str = "float32", trust_remote_code: bool = False
    ) -> Classifier:
        found = self.load(path, dtype, trust_remote_code)
        return Classifier(as_classifier(found.model, *token_ids(found.facts)), found.encoding, found.facts)

    def examples(
        self, rows: Sequence[PrmRow], encoding: Any, max_length: int, algebra: LabelAlgebra = OWN_LABELS
    ) -> ExampleSet:
        return prm_examples(rows, encoding, algebra, max_length)

    def logits(self, checkpoint: Checkpoint, path: EncodedPath) -> list[float]:
        return log_odds_at(checkpoint.model, path.ids, path.positions, token_ids(checkpoint.facts))

    def card(self) -> str:
        return CARD


def token_ids(facts: CheckpointFacts) -> tuple[int, int]:
    assert isinstance(facts, TwoTokenFacts)
    return facts.bad_id, facts.good_id


TWO_TOKENS = TwoTokenKind()


@pytest.fixture
def checkpoint(tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(KINDS, "two_tokens", f"{__name__}:TWO_TOKENS")
    model = AutoModelForCausalLM.from_pretrained(tiny_policy)
    facts = TwoTokenFacts(
        "two_tokens",
        EncodingFacts("chat", "\n", ""),
        "whether the step is good",
        "min",
        bad_id=11,
        good_id=12,
    )
    write_facts(facts, model.config)
    model.save_pretrained(tmp_path / "model")
    load_tokenizer(str(tiny_policy)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def expected(checkpoint: Path) -> list[float]:
    """p(12) against p(11) behind each step, from the texts before it."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(checkpoint), load_tokenizer(str(checkpoint))
    found, text = [], f"<|user|>{QUESTION}<|end|><|assistant|>"
    for step in STEPS:
        text += step + "\n"
        with torch.no_grad():
            p = (
                model(**tokenizer(text, return_tensors="pt", add_special_tokens=False))
                .logits[0, -1]
                .softmax(0)
            )
        found.append((p[12] / (p[11] + p[12])).item())
    assert max(found) - min(found) > 0.01
    return found


def test_a_new_kind_is_read_and_scored(checkpoint, expected):
    scorer = load_scorer(str(checkpoint))
    assert (scorer.scores_steps, scorer.aggregation) == (True, "min")
    assert score(QUESTION, STEPS, scorer) == pytest.approx(expected, abs=1e-5)


def test_a_new_kind_is_published_with_its_card(checkpoint, expected, tmp_path):
    nothing = {name: (each,) * 3 for name, each in EVIDENCE.items()}
    write_rows(tmp_path / "rows.jsonl", [PrmRow("p", QUESTION, STEPS, (True, True, False), **nothing)])  # type: ignore[arg-type]
    output = tmp_path / "public"
    publish.main(
        [
            "--checkpoint",
            str(checkpoint),
            "--rows",
            str(tmp_path / "rows.jsonl"),
            "--output",
            str(output),
            "--license",
            "mit",
        ]
    )
    card = (output / "README.md").read_text()
    assert "\n# Step reader\n" in card
    assert "\npipeline_tag: text-generation\n" in card
    assert "after a step the token 12 is good, 11 bad." in card
    assert f"The scores of the path are {[round(each, 4) for each in expected]}." in card
    facts = json.loads((output / "config.json").read_text())["prm_train"]
    assert (facts["kind"], facts["good_id"], facts["reading"]) == ("two_tokens", 12, TWO_TOKENS.reading)
    published = load_checkpoint(str(output))
    path = question_path(QUESTION, STEPS)
    assert published.kind.shown(published.facts, published.logits(path)) == pytest.approx(expected, abs=1e-5)
    served = load_subject(output, "float32")
    # A log-prob for each token but the first
    assert len(served.scores(served.encode(path))) == len(published.encode(path).ids) - 1
