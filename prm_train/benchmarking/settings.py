"""The settings of `prm-train benchmark`. Loads without torch."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le

from data_gen.files.bad_rows import BAD_ROWS_HELP, BadRows
from data_gen.formats.generic import GenericFields
from data_gen.formats.lookup import FormatName
from data_gen.records.steps import check_separator
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.foreign.settings import AUTO, PrmFormat
from prm_train.search.scorer_config import ScorerConfig

BenchmarkName = Literal["processbench", "prmbench", "best-of-n", "pairs", "steps"]
# The settings that only some benchmarks read
ONLY: dict[str, tuple[BenchmarkName, ...]] = {
    "rows_format": ("steps",),
    "generic": ("steps",),
    "tune_on": ("processbench",),
    "store_threshold": ("processbench",),
    "threshold": ("prmbench",),
    "n": ("best-of-n",),
    "candidates_format": ("best-of-n",),
    "aggregation": ("best-of-n", "pairs"),
}


@dataclass(frozen=True)
class BenchmarkConfig:
    """Measure a scorer, ours or another project's, on labelled rows."""

    benchmark: BenchmarkName = field(
        metadata={"help": "what is measured; may be given as the first word, without --benchmark"}
    )
    rows: tuple[Path, ...] = field(
        metadata={
            "is_input": True,
            "help": "files of rows, .jsonl or .json, or folders of them; each file is a split named after it",
        }
    )
    checkpoint: str | None = field(
        default=None, metadata={"is_model": True, "help": "folder or Hub name of the scorer; null: scores"}
    )
    scores: tuple[Path, ...] = field(
        default=(),
        metadata={
            "is_input": True,
            "help": "files of stored scores instead of a checkpoint: rows of question, steps and scores, as "
            "`prm-train score` writes them",
        },
    )
    export_rows: Path | None = field(
        default=None,
        metadata={
            "help": ".jsonl file for the questions and steps to score, and nothing else is done: any program "
            "may add `scores` to its rows, and --scores reads them"
        },
    )
    output: Path | None = field(
        default=None, metadata={"help": "folder for metrics.json and predictions.jsonl"}
    )
    n_rows: Annotated[int, Ge(1)] | None = field(
        default=None, metadata={"help": "number of rows of each file, evenly spread over it; null: all"}
    )
    bad_rows: BadRows = field(default="error", metadata={"help": BAD_ROWS_HELP})
    prm_format: PrmFormat = field(
        default=AUTO,
        metadata={"help": "how to read a PRM of another project whose config.json does not say it"},
    )
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    trust_remote_code: bool = field(
        default=False, metadata={"help": "run code that comes with the model's files"}
    )
    step_separator: str = field(
        default="\n", metadata={"help": "text that ends a step where a solution is one text"}
    )
    rows_format: FormatName | Literal["generic"] = field(
        default="trl",
        metadata={"help": "for steps: layout of the rows; generic: named by the settings generic.…"},
    )
    generic: GenericFields = field(default_factory=GenericFields)
    tune_on: str | None = field(
        default=None,
        metadata={
            "help": "for processbench: a split, or a file that is not measured, whose best threshold is "
            "used for all others; a threshold from cross-fitting is reported in any case"
        },
    )
    store_threshold: bool = field(
        default=False,
        metadata={"help": "for processbench: write the threshold of tune_on into the checkpoint"},
    )
    threshold: Annotated[float, Ge(0), Le(1)] = field(
        default=0.5, metadata={"help": "for prmbench: a step is judged good above this score"}
    )
    n: tuple[Annotated[int, Ge(1)], ...] = field(
        default=(),
        metadata={"help": "for best-of-n: numbers of candidates to choose from; []: powers of 2"},
    )
    candidates_format: Literal["auto", "candidates", "qwen", "rewardbench2"] = field(
        default="auto",
        metadata={
            "help": "for best-of-n: layout of the rows. candidates: what publish-candidates writes; qwen: "
            "results of the Qwen2.5-Math evaluation; rewardbench2: chosen and rejected texts; auto: by the "
            "fields of each row"
        },
    )
    aggregation: Aggregation | None = field(
        default=None,
        metadata={
            "help": "for best-of-n and pairs: how step scores make the score of a solution; null: as the "
            "checkpoint says, min for stored scores"
        },
    )
    seed: int = field(default=0, metadata={"help": "seed of the bootstrap that makes the intervals"})

    def __post_init__(self) -> None:
        check_separator(self.step_separator)
        for each in fields(self):
            allowed = ONLY.get(each.name, (self.benchmark,))
            if self.benchmark not in allowed and getattr(self, each.name) != default_of(each.name):
                raise ValueError(
                    f"{each.name}: has no effect on {self.benchmark}; expected it with {', '.join(allowed)}"
                )
        if not self.rows:
            raise ValueError("rows: got none, expected one or more files")
        for name in ("scorer", "prm_format", "trust_remote_code"):
            if self.checkpoint is None and getattr(self, name) != default_of(name):
                raise ValueError(f"{name}: has no effect without a checkpoint; expected one")
        if self.checkpoint is not None and self.scores:
            raise ValueError("scores: has no effect beside a checkpoint; expected one of the two")
        if self.rows_format != "generic" and self.generic != GenericFields():
            raise ValueError(
                f"generic: got field names with rows_format {self.rows_format}, expected generic"
            )
        if self.store_threshold and (self.tune_on is None or self.checkpoint is None):
            raise ValueError("store_threshold: got true, expected a checkpoint and tune_on with it")
        if self.store_threshold and not self.scorer.gives_own_scores:
            raise ValueError(
                "store_threshold: got true with scorer.ensemble or scorer.pessimism, whose scores are not "
                "those of the checkpoint alone; expected it to be left out"
            )


def default_of(name: str) -> object:
    """The default of a setting."""
    found = next(each for each in fields(BenchmarkConfig) if each.name == name)
    return found.default_factory() if callable(found.default_factory) else found.default
