"""The card of a published scorer, from facts alone: what the training report, the checkpoint and the data's build.json say."""

import json
import textwrap
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from data_gen.rows import PrmRow
from data_gen.scrubbing import public_settings, public_text
from prm_train.evaluation.estimators import Interval, bootstrap_interval
from prm_train.export import Export, Layout, ScoredPath
from prm_train.metrics import auroc, brier

TITLES = {"prm": "Process reward model", "orm": "Outcome reward model"}
TAGS = {"prm": "process-reward-model", "orm": "outcome-reward-model"}
PIPELINES = {"prm": "token-classification", "orm": "text-classification"}
# Settings of a training that a reader of the card would ask for, in this order.
SHOWN_SETTINGS = (
    *("label_kind", "hard_threshold", "smoothing", "until_first_error", "weigh_by_rollouts", "loss", "objective"),
    *("n_epochs", "batch_size", "n_accumulated", "batch_tokens", "packing", "max_length", "validation_share"),
    *("learning_rate", "head_learning_rate", "lr_schedule", "warmup_share", "adam_betas", "weight_decay", "max_grad_norm"),
    *("head_dropout", "backbone_dropout", "lora", "quantization", "dtype", "bf16_autocast", "seed", "keep"),
)
AGGREGATION_WORDS = {
    "min": "the smallest of its step scores",
    "prod": "the product of its step scores",
    "last": "the score of its last step",
    "mean": "the mean of its step scores",
}


@dataclass(frozen=True)
class WorkedExample:
    """A real path: its ids, the positions of the markers, and its scores."""

    path: ScoredPath
    ids: tuple[int, ...]
    positions: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class CardFacts:
    """Everything that the card says, but for what its author says."""

    export: Export
    layout: Layout
    dtype: str
    base_model: str
    marker_id: int
    example: WorkedExample
    report: Mapping[str, Any]  # training/report.json, {} where the checkpoint came without one
    build: Mapping[str, Any] = field(default_factory=dict)  # build.json of the training rows, {} where there is none
    quality: Mapping[str, Interval] = field(default_factory=dict)  # see held_out_quality; {} without held-out rows
    n_held_out_questions: int = 0


@dataclass(frozen=True)
class Publication:
    """What the author says; `location` is what from_pretrained is given: user/name, or ./folder."""

    location: str
    license: str
    title: str | None
    datasets: tuple[str, ...]
    languages: tuple[str, ...]


def render(facts: CardFacts, publication: Publication) -> str:
    """The card as Markdown with YAML front matter. A function of the facts alone: two calls give the same text."""
    environment = Environment(
        loader=PackageLoader("prm_train", "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    filters: dict[str, Callable[..., str]] = {"json": to_json, "wrapped": wrapped, "number": number}
    environment.filters |= filters
    kind = facts.export.facts.kind
    return environment.get_template("model_card.md.jinja").render(
        front_matter=yaml.safe_dump(front_matter(facts, publication), sort_keys=False, allow_unicode=True, width=1000),
        title=publication.title or f"{TITLES[kind]} from {facts.base_model}",
        facts=facts,
        kind=kind,
        encoding=facts.export.facts.encoding,
        calibration=facts.export.facts.calibration,
        thresholds=facts.export.facts.thresholds,
        location=publication.location,
        settings=shown_settings(facts.report),
        metrics=validation_metrics(facts),
        pooler=json.dumps(pooler(facts)),
        aggregation_words=AGGREGATION_WORDS[facts.export.facts.aggregation],
        contamination=facts.build.get("contamination") or {},
        version=version("prm-train"),
        versions={name: version(name) for name in ("torch", "transformers", "peft", "accelerate")},
        public=public_text,
    )


def front_matter(facts: CardFacts, publication: Publication) -> dict[str, Any]:
    """What the Hub reads."""
    kind = facts.export.facts.kind
    metrics = [{"type": name, "value": value} for name, value in validation_metrics(facts).items()]
    task = {"task": {"type": PIPELINES[kind]}, "dataset": {"name": "held-out questions of the training rows", "type": "validation"}}
    is_public = "/" in facts.base_model
    return {
        "license": publication.license,
        "language": list(publication.languages),
        "library_name": "transformers",
        "pipeline_tag": PIPELINES[kind],
        "tags": ["prm-train", "reward-model", TAGS[kind], "reasoning"],
        **({"base_model": facts.base_model, "base_model_relation": "finetune"} if is_public else {}),
        **({"datasets": list(publication.datasets)} if publication.datasets else {}),
        **({"model-index": [{"name": publication.location, "results": [{**task, "metrics": metrics}]}]} if metrics else {}),
    }


def validation_metrics(facts: CardFacts) -> dict[str, float]:
    """The last validation of the training, by name; counts left out."""
    evaluations: Sequence[Mapping[str, Any]] = facts.report.get("validation", [])
    last = evaluations[-1] if evaluations else {}
    return {name: value for name, value in last.items() if isinstance(value, float)}


def held_out_quality(rows: Sequence[Any], scores: Sequence[Sequence[float]]) -> dict[str, Interval]:
    """Brier score, and AUROC inside a question where it has both kinds of label, with 95 % intervals over questions."""
    by_question: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for row, row_scores in zip(rows, scores, strict=True):
        labels = row.labels if isinstance(row, PrmRow) else (row.label,)
        places = zip(row_scores, labels, strict=True)
        by_question[row.prompt] += [(score, label) for score, label in places if label is not None]
    groups = [tuple(zip(*places, strict=True)) for places in by_question.values() if places]
    found = {
        "Brier score": [brier(*group) for group in groups],
        "AUROC inside a question": [area for group in groups if (area := auroc(*group)) is not None],
    }
    rng = np.random.default_rng(0)
    return {name: bootstrap_interval(values, rng) for name, values in found.items() if values}


def shown_settings(report: Mapping[str, Any]) -> dict[str, Any]:
    config = public_settings(report.get("config", {}))
    return {name: config[name] for name in SHOWN_SETTINGS if config.get(name) is not None}


def pooler(facts: CardFacts) -> dict[str, Any]:
    """vLLM's pooler configuration: a PRM's scores at its step markers, an ORM's at the end."""
    if facts.export.facts.kind == "orm":
        return {"task": "classify"}
    return {"task": "token_classify", "tok_pooling_type": "STEP", "step_tag_id": facts.marker_id}


def to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def wrapped(values: Sequence[object]) -> str:
    return textwrap.fill(", ".join(map(str, values)), 120)


def number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
