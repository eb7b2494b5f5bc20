"""The card of a published model, from facts alone: what the training report, the checkpoint and the data's
build.json say.

Sentences stand in `model_card.md.jinja`, which all kinds share, and in the kind's own template
(`ModelKind.card`): what a model of that kind gives, the code that reads it, and how it is served. The code is
Python that runs as it stands.
"""

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from data_gen.publishing.scrubbing import public_settings, public_text
from data_gen.rows.build_record import BuildRecord
from prm_train.kinds.lookup import kind_named
from prm_train.kinds.paths import EncodedPath, ScoredPath
from prm_train.kinds.score_meaning import ScoreMeaning
from prm_train.metrics.estimators import Interval
from prm_train.metrics.training_report import TrainingReport
from prm_train.publishing.export import Export, Layout
from prm_train.publishing.held_out_quality import QuestionInterval

# Settings of a training that a reader of the card would ask for, in this order.
SHOWN_SETTINGS = (
    *(
        "label_kind",
        "hard_threshold",
        "smoothing",
        "until_first_error",
        "weigh_by_rollouts",
        "loss",
        "objective",
    ),
    *("beta", "ask", "max_pairs_per_question", "stop_after_minimum"),
    *("n_epochs", "batch_size", "n_accumulated", "batch_tokens", "packing", "max_length", "validation_share"),
    *(
        "learning_rate",
        "head_learning_rate",
        "lr_schedule",
        "warmup_share",
        "adam_betas",
        "weight_decay",
        "max_grad_norm",
    ),
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
    """A real path, its ids and the positions in them, and what the card's code prints for it."""

    path: ScoredPath
    encoded: EncodedPath
    scores: tuple[float, ...]


@dataclass(frozen=True)
class CardFacts:
    """Everything that the card says, but for what its author says."""

    export: Export
    layout: Layout
    dtype: str
    base_model: str | None  # as the training named it, None where that is not known
    is_base_on_hub: bool
    meaning: ScoreMeaning
    marker_id: int | None  # None where scores are read off a language model's own tokens
    example: WorkedExample
    report: TrainingReport | None  # None: the checkpoint came without one
    build: BuildRecord | None = None  # of the training rows; None: there is none
    quality: Mapping[str, QuestionInterval] = field(
        default_factory=dict
    )  # see prm_train.publishing.held_out_quality; {} without held-out rows


@dataclass(frozen=True)
class Publication:
    """What the author says; `location` is what from_pretrained is given: user/name, or ./folder."""

    location: str
    license: str
    title: str | None
    datasets: tuple[str, ...]
    languages: tuple[str, ...]


def render(facts: CardFacts, publication: Publication) -> str:
    """The card as Markdown with YAML front matter. A function of the facts alone: two calls give the same
    text.
    """
    environment = Environment(
        loader=PackageLoader("prm_train.publishing", "cards"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., str]] = {"json": to_json, "wrapped": wrapped, "number": number}
    environment.filters |= filters
    kind = kind_named(facts.export.facts.kind)
    return environment.from_string(kind.card()).render(
        front_matter=yaml.safe_dump(
            front_matter(facts, publication), sort_keys=False, allow_unicode=True, width=1000
        ),
        title=publication.title or kind.title + (f" from {facts.base_model}" if facts.base_model else ""),
        facts=facts,
        checkpoint=facts.export.facts,
        example=facts.example,
        chat=[{"role": message.role, "content": message.content} for message in facts.example.path.messages],
        encoding=facts.export.facts.encoding,
        calibration=facts.export.facts.calibration,
        thresholds=facts.export.facts.thresholds,
        location=publication.location,
        settings=shown_settings(facts.report),
        metrics=validation_metrics(facts),
        revision_shares=revision_shares(facts.report),
        pooler=json.dumps(kind.serving.pooler(facts.marker_id)),
        aggregation_words=AGGREGATION_WORDS[facts.export.facts.aggregation],
        contamination=asdict(facts.build.contamination) if facts.build and facts.build.contamination else {},
        version=version("prm-train"),
        versions={name: version(name) for name in ("torch", "transformers", "peft", "accelerate")},
        public=public_text,
    )


def front_matter(facts: CardFacts, publication: Publication) -> dict[str, Any]:
    """What the Hub reads."""
    kind = kind_named(facts.export.facts.kind)
    metrics = [{"type": name, "value": value} for name, value in validation_metrics(facts).items()]
    task = {
        "task": {"type": kind.serving.pipeline},
        "dataset": {"name": "held-out questions of the training rows", "type": "validation"},
    }
    return {
        "license": publication.license,
        "language": list(publication.languages),
        "library_name": "transformers",
        "pipeline_tag": kind.serving.pipeline,
        "tags": [
            "prm-train",
            *(["reward-model"] if kind.is_scorer else []),
            kind.title.lower().replace(" ", "-"),
            "reasoning",
        ],
        **(
            {"base_model": facts.base_model, "base_model_relation": "finetune"}
            if facts.is_base_on_hub
            else {}
        ),
        **({"datasets": list(publication.datasets)} if publication.datasets else {}),
        **(
            {"model-index": [{"name": publication.location, "results": [{**task, "metrics": metrics}]}]}
            if metrics
            else {}
        ),
    }


def validation_metrics(facts: CardFacts) -> dict[str, float]:
    """The last validation of the training, by name; counts left out (TRL's count of tokens is a float)."""
    last = facts.report.validation[-1] if facts.report and facts.report.validation else {}
    return {name: value for name, value in last.items() if isinstance(value, float) and name != "num_tokens"}


def revision_shares(report: TrainingReport | None) -> dict[str, Interval]:
    """Of a revision model: the shares of next attempts, by their names; nothing where they were not drawn."""
    rates = vars(report.revisions) if report and report.revisions else {}
    return {name: share for name, share in rates.items() if isinstance(share, Interval)}


def shown_settings(report: TrainingReport | None) -> dict[str, Any]:
    config = public_settings(report.config if report else {})
    return {name: config[name] for name in SHOWN_SETTINGS if config.get(name) is not None}


def to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def wrapped(values: Sequence[object]) -> str:
    return textwrap.fill(", ".join(map(str, values)), 120)


def number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
