"""`prm-train publish`: a trained PRM or ORM as a folder with a card, checked, and pushed to the Hub if a repository is named.

    prm-train publish --checkpoint runs/math/prm --rows runs/math/rows/prm.jsonl --output runs/math/public --license mit
    prm-train publish --config configs/publish/gsm8k.yaml --repo user/math-prm

The folder appears when it was loaded again with transformers alone and encodes and scores the given rows as the checkpoint does; only then
is anything pushed.
"""

import json
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from data_gen.config import InputError, parse_config, run_command
from data_gen.hub import DEFAULT_TOKEN_ENV, HubRepository, push_folder

if TYPE_CHECKING:
    from data_gen.rows import OrmRow, PrmRow
    from prm_train.encoding import ScorerEncoding
    from prm_train.export import Export, ScoredPath

logger = logging.getLogger(__name__)
CARD = "README.md"
MODEL_TAG = "- prm-train"  # by this line of its card a folder is known as one that may be replaced


@dataclass(frozen=True)
class PublishConfig:
    """Publish a trained scorer as a model."""

    checkpoint: Path = field(metadata={"help": "folder that train-prm or train-orm wrote"})
    rows: Path = field(metadata={"help": "rows that ids and scores are compared on, best those of the training"})
    output: Path = field(metadata={"help": "folder for the model; an earlier model of this command there is replaced"})
    license: str = field(metadata={"help": "the Hub's name of a license, as mit; mind that of the base model and of the data"})
    title: str | None = field(default=None, metadata={"help": "heading of the card; null: what the model is"})
    datasets: tuple[str, ...] = field(default=(), metadata={"help": "names on the Hub of the data sets it was trained on"})
    languages: tuple[str, ...] = field(default=("en",), metadata={"help": "of the questions, as ISO 639-1 codes"})
    dtype: Literal["float32", "bfloat16", "float16"] = field(default="float32", metadata={"help": "of the published weights"})
    layout: Literal["transformers", "qwen_prm"] = field(
        default="transformers", metadata={"help": "qwen_prm: as Qwen2ForProcessRewardModel, for servers that know that one alone"}
    )
    n_rows: Annotated[int, Ge(1)] = field(
        default=256,
        metadata={"help": "rows to compare on and to take the intervals of the card from, held-out ones if there are any"},
    )
    repo: str | None = field(default=None, metadata={"help": "user/name of a model on the Hub to push to; null: only write the folder"})
    private: bool = field(default=True, metadata={"help": "a new repository is private"})
    token_env: str = field(
        default=DEFAULT_TOKEN_ENV, metadata={"help": "environment variable with the Hub's token; HF_TOKEN falls back on the login of `hf`"}
    )

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", self.license):
            raise ValueError(f"license: got {self.license!r}, expected the Hub's name of one, in small letters, as apache-2.0 or mit")
        if self.repo is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repo):
            raise ValueError(f"repo: got {self.repo!r}, expected user/name")


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(PublishConfig, argv)
    from transformers.utils import logging as transformers_logging  # only now, so that a mistake in the configuration is answered at once

    transformers_logging.disable_progress_bar()
    with whole_folder(config.output) as folder:
        export = write_model(config, folder)
    logger.info(
        "%s: %d scores as %s gives them, to within %.1e", config.output, export.n_scores, config.checkpoint, export.max_abs_difference
    )
    if config.repo is not None:
        repository = HubRepository(config.repo, "model", config.private, config.token_env)
        url = push_folder(config.output, repository, f"Publish {config.output.name}", ["*.safetensors", "*.safetensors.index.json"])
        logger.info("pushed: %s", url)


def write_model(config: PublishConfig, folder: Path) -> "Export":
    """Weights, tokenizer, config and card into `folder`."""
    from data_gen.jsonl import write_text
    from data_gen.scrubbing import public_path, refuse_secrets
    from prm_train.export import export_checkpoint
    from prm_train.model_card import CardFacts, Publication, WorkedExample, held_out_quality, render
    from prm_train.modeling import load_checkpoint

    _, encoding, facts = load_checkpoint(str(config.checkpoint))
    report = read_json(config.checkpoint / "training" / "report.json")
    rows, is_held_out = choose_rows(config, facts.kind, report.get("config", {}).get("validation_share", 0.0))
    paths = [path_of(row, encoding) for row in rows]
    export = export_checkpoint(str(config.checkpoint), folder, paths, config.dtype, config.layout)
    shortest = min(range(len(paths)), key=lambda i: sum(map(len, paths[i].steps)))
    ids, ends = encoding.encode(paths[shortest].question, paths[shortest].steps)
    scores = tuple(round(score, 4) for score in export.scores[shortest])
    base_model = report.get("config", {}).get("model", "unknown")
    card = CardFacts(
        export=export,
        layout=config.layout,
        dtype=config.dtype,
        base_model=public_path(base_model) if Path(base_model).is_absolute() else base_model,
        marker_id=encoding.marker_id,
        example=WorkedExample(paths[shortest], ids, ends if facts.kind == "prm" else ends[-1:], scores),
        report=report,
        build=read_json(config.rows.parent / "build.json"),
        quality=held_out_quality(rows, export.scores) if is_held_out else {},
        n_held_out_questions=len({row.prompt for row in rows}) if is_held_out else 0,
    )
    location = config.repo or f"./{config.output.resolve().name}"
    text = render(card, Publication(location, config.license, config.title, config.datasets, config.languages))
    write_text(folder / CARD, text)
    refuse_secrets([folder / CARD])
    return export


def choose_rows(config: PublishConfig, kind: str, validation_share: float) -> "tuple[list[Any], bool]":
    """Up to n_rows of the rows, evenly spread: those of questions that the training held out if it held any out, and whether they are."""
    from data_gen.rows import OrmRow, PrmRow, read_rows
    from prm_train.examples import is_validation_question

    rows: list[Any] = list(read_rows(config.rows, PrmRow if kind == "prm" else OrmRow))
    if not rows:
        raise InputError(f"{config.rows}: no row to compare scores on")
    held_out = [row for row in rows if is_validation_question(row.prompt, validation_share)]
    chosen = held_out or rows
    return chosen[:: max(1, len(chosen) // config.n_rows)][: config.n_rows], bool(held_out)


def path_of(row: "PrmRow | OrmRow", encoding: "ScorerEncoding") -> "ScoredPath":
    from data_gen.rows import PrmRow
    from data_gen.steps import split_steps
    from prm_train.export import ScoredPath

    if isinstance(row, PrmRow):
        return ScoredPath(row.prompt, tuple(row.completions))
    return ScoredPath(row.prompt, split_steps(row.completion, encoding.facts.step_separator))


def read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


@contextmanager
def whole_folder(output: Path) -> Iterator[Path]:
    """A folder to write into that becomes `output` when the block ends well and vanishes when it does not.

    Raises InputError where `output` holds something other than an earlier model of this command, which is replaced.
    """
    if output.exists() and not _is_ours(output):
        raise InputError(f"{output}: exists and is no model of this command; choose another folder, or delete this one")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as temporary:
        new, old = Path(temporary) / output.name, Path(temporary) / "old"
        new.mkdir()
        yield new
        if output.exists():
            output.rename(old)
        new.rename(output)


def _is_ours(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    card = folder / CARD
    return not any(folder.iterdir()) or (card.is_file() and MODEL_TAG in card.read_text().splitlines())


if __name__ == "__main__":
    run_command(main, "publish")
