"""`prm-train publish`: a trained model as a folder with a card, checked, and pushed to the Hub if a
repository is named.

    prm-train publish --checkpoint runs/math/prm --rows runs/math/rows/prm.jsonl --output runs/math/public
    --license mit prm-train publish --config configs/publish/gsm8k.yaml --repo user/math-prm

It takes what any `train-…` command wrote: PRMs, ORMs (on single solutions, on pairs, with earlier attempts in
view), revision models, generative verifiers and implicit PRMs. The folder appears when it was loaded again
with transformers alone and encodes and scores the given rows as the checkpoint does; only then is anything
pushed.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge

from data_gen.models.names import check_inputs
from data_gen.process.disk_faults import writing
from data_gen.publishing.hub import DEFAULT_TOKEN_ENV, HubRepository, check_token_env, push_folder
from data_gen.publishing.whole_folder import CARD, whole_folder
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.examples.evenly import evenly

if TYPE_CHECKING:
    from prm_train.examples.targets import LabelAlgebra
    from prm_train.kinds.model_kind import Checkpoint
    from prm_train.kinds.paths import Labels, ScoredPath
    from prm_train.publishing.export import Export
    from prm_train.publishing.model_card import WorkedExample

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishConfig:
    """Publish a trained model."""

    checkpoint: Path = field(metadata={"is_model": True, "help": "folder that a train-… command wrote"})
    rows: Path = field(
        metadata={
            "is_input": True,
            "help": "rows of the scorer's kind on which the published scores are compared with its own, best "
            "those of the training",
        }
    )
    output: Path = field(
        metadata={"help": "folder for the model; an earlier model of this command there is replaced"}
    )
    license: str = field(
        metadata={
            "help": "the Hub's name of a license, as mit; the licenses of the base model and of the data "
            "must allow it"
        }
    )
    title: str | None = field(
        default=None, metadata={"help": "heading of the card; null: a description of the model"}
    )
    datasets: tuple[str, ...] = field(
        default=(), metadata={"help": "names on the Hub of the datasets that the model was trained on"}
    )
    languages: tuple[str, ...] = field(
        default=("en",), metadata={"help": "languages of the questions, as ISO 639-1 codes"}
    )
    dtype: Literal["float32", "bfloat16", "float16"] = field(
        default="float32", metadata={"help": "number format of the published weights"}
    )
    layout: Literal["transformers", "qwen_prm"] = field(
        default="transformers",
        metadata={
            "help": "class that the folder loads as. qwen_prm: Qwen2ForProcessRewardModel, for servers that "
            "know no other"
        },
    )
    n_rows: Annotated[int, Ge(1)] = field(
        default=256,
        metadata={
            "help": "number of rows to compare on and to compute the card's intervals from, held-out ones if "
            "there are any"
        },
    )
    repo: str | None = field(
        default=None,
        metadata={"help": "user/name of a model on the Hub to push to; null: write only the folder"},
    )
    private: bool = field(default=True, metadata={"help": "whether a repository that is created is private"})
    token_env: str = field(
        default=DEFAULT_TOKEN_ENV,
        metadata={
            "help": "environment variable with the Hub's token; HF_TOKEN falls back on the login of `hf`"
        },
    )

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", self.license):
            raise ValueError(
                f"license: got {self.license!r}, expected the Hub's name of one, in small letters, as "
                "apache-2.0 or mit"
            )
        if self.repo is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repo):
            raise ValueError(f"repo: got {self.repo!r}, expected user/name")
        check_token_env(self.token_env)


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(PublishConfig, argv)
    check_inputs(config)
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    with whole_folder(config.output, "model") as folder, writing(config.output):
        export = write_model(config, folder)
    logger.info(
        "%s: %d scores as %s gives them, to within %.1e",
        config.output,
        export.n_scores,
        config.checkpoint,
        export.max_abs_difference,
    )
    if config.repo is not None:
        repository = HubRepository(config.repo, "model", config.private, config.token_env)
        url = push_folder(
            config.output,
            repository,
            f"Publish {config.output.name}",
            ["*.safetensors", "*.safetensors.index.json"],
        )
        logger.info("pushed: %s", url)


@dataclass(frozen=True)
class CheckedPath:
    """A path to compare on, the label of each of its scores, and the question of its row (the path's own may
    say more).
    """

    path: "ScoredPath"
    labels: "Labels"
    question: str


def write_model(config: PublishConfig, folder: Path) -> "Export":
    """Weights, tokenizer, config and card into `folder`."""
    from data_gen.files.jsonl import write_text
    from data_gen.models.pretrained import is_hub_name
    from data_gen.models.saved_tokenizer import refuse_replaced
    from data_gen.publishing.scrubbing import public_path, refuse_secrets
    from data_gen.rows.build_record import read_build
    from prm_train.kinds.load import load_checkpoint
    from prm_train.metrics.training_report import TrainingReport
    from prm_train.publishing.export import export_checkpoint
    from prm_train.publishing.held_out_quality import held_out_quality
    from prm_train.publishing.model_card import CardFacts, Publication, render

    checkpoint = load_checkpoint(str(config.checkpoint))
    kind, facts, encoding = checkpoint.kind, checkpoint.facts, checkpoint.encoding
    refuse_replaced(encoding.tokenizer, checkpoint.model.config, str(config.checkpoint))
    report = TrainingReport.of(config.checkpoint)
    settings = report.config if report else {}
    meaning = kind.score_meaning(facts, settings, calibration_labels(config.checkpoint, checkpoint))
    checked, is_held_out = choose_paths(
        config, checkpoint, meaning.algebra, settings.get("validation_share", 0.0)
    )
    paths = [each.path for each in checked]
    export = export_checkpoint(checkpoint, folder, paths, config.dtype, config.layout)
    quality = held_out_quality(
        [each.question for each in checked],
        [kind.scorer_logits(facts, logits) for logits in export.logits],
        [each.labels if is_held_out else () for each in checked],
        facts,
        with_brier=meaning.says == "probability",
    )
    base_model = settings.get("model")
    is_base_on_hub = (
        base_model is not None and is_hub_name(base_model) and not (report and report.model_is_folder)
    )
    card = CardFacts(
        export=export,
        layout=config.layout,
        dtype=config.dtype,
        base_model=base_model if base_model is None or is_base_on_hub else public_path(base_model),
        is_base_on_hub=is_base_on_hub,
        meaning=meaning,
        marker_id=encoding.marker_id if encoding.facts.marker_token else None,
        example=worked_example(checkpoint, export, paths),
        report=report,
        build=read_build(config.rows.parent),
        quality=quality,
    )
    location = config.repo or f"./{config.output.resolve().name}"
    text = render(
        card, Publication(location, config.license, config.title, config.datasets, config.languages)
    )
    write_text(folder / CARD, text)
    refuse_secrets([folder / CARD])
    return export


def calibration_labels(folder: Path, checkpoint: "Checkpoint") -> "LabelAlgebra | None":
    """The label settings under which `prm-train calibrate` fitted the calibration; None if the training did,
    or there is none.

    Raises InputError where an earlier version fitted it, which did not store them.
    """
    from prm_train.metrics.training_report import StoredCalibration

    found, calibration = StoredCalibration.of(folder), checkpoint.facts.calibration
    if (
        not checkpoint.kind.has_label_settings
        or calibration.method == "none"
        or found is None
        or found.calibration != calibration
    ):
        return None
    if found.label_settings is None:
        raise InputError(
            f"{folder / 'calibration.json'}: no label_settings; expected those of `prm-train calibrate`: run "
            "it again"
        )
    return found.label_settings


def choose_paths(
    config: PublishConfig, checkpoint: "Checkpoint", algebra: "LabelAlgebra", validation_share: float
) -> tuple[list[CheckedPath], bool]:
    """The paths of up to n_rows rows, evenly spread: of questions that the training held out if it held any
    out, and whether they are.

    Paths longer than the model's context are left out, and counted. Raises InputError for rows of another
    kind, and if no path is left.
    """
    from data_gen.rows.layouts import question_of
    from prm_train.examples.examples import is_validation_question
    from prm_train.publishing.scored_rows import read_scored_rows

    kind, rows = checkpoint.kind, []
    for row in read_scored_rows(config.rows, kind, checkpoint.facts):
        paths = kind.paths(row, checkpoint.encoding.facts.step_separator)
        rows.append((row, paths, is_validation_question(question_of(row), validation_share)))
    is_held_out = any(is_validation for _, _, is_validation in rows)
    chosen = [(row, paths) for row, paths, is_validation in rows if is_validation == is_held_out]
    found = dict.fromkeys(
        CheckedPath(path, labels, question_of(row))
        for row, paths in evenly(chosen, config.n_rows)
        for path, labels in zip(
            paths, kind.labels(row, [len(path.steps) for path in paths], algebra), strict=True
        )
        if path.steps
    )
    context = getattr(checkpoint.model.config.get_text_config(), "max_position_embeddings", None)
    kept = [each for each in found if context is None or len(checkpoint.encode(each.path).ids) <= context]
    if len(kept) < len(found):
        logger.warning(
            "%s: %d of %d paths are left out: longer than the context of %d tokens",
            config.rows,
            len(found) - len(kept),
            len(found),
            context,
        )
    if not kept:
        raise InputError(
            f"{config.rows}: none of {len(found)} solutions fits into the context of {context} tokens; "
            "expected some to compare on"
        )
    return kept, is_held_out


def worked_example(
    checkpoint: "Checkpoint", export: "Export", paths: "Sequence[ScoredPath]"
) -> "WorkedExample":
    """The shortest path, of those with earlier attempts if there are any; and of those whose steps hold no
    separator, which the card's code would have to cut.
    """
    from data_gen.records.steps import join_steps, split_steps
    from prm_train.publishing.model_card import WorkedExample

    encoded = [checkpoint.encode(path) for path in paths]
    separator = checkpoint.encoding.facts.step_separator
    is_cut = [
        checkpoint.kind.is_scorer and split_steps(join_steps(path.steps, separator), separator) != path.steps
        for path in paths
    ]
    shortest = min(
        range(len(paths)), key=lambda i: (len(paths[i].messages) == 1, is_cut[i], len(encoded[i].ids))
    )
    printed = checkpoint.kind.printed(checkpoint.facts, export.logits[shortest])
    return WorkedExample(paths[shortest], encoded[shortest], tuple(round(number, 4) for number in printed))


if __name__ == "__main__":
    run_command(main, "publish")
