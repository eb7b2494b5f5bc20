"""What is built from runs: which rows, from which labels, with which filters."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Interval

from data_gen.labeling.views import LabelView
from data_gen.records.chats import ChainPrompts
from data_gen.rows.contamination import ContaminationSettings
from data_gen.rows.distill import DistillSettings
from data_gen.rows.filters import FilterSettings
from data_gen.rows.layouts import RowKind
from data_gen.rows.orm import PairSettings
from data_gen.rows.revision import RevisionSettings

Split = Literal["train", "validation"]


@dataclass(frozen=True)
class BuildConfig:
    """Training rows from one or more runs (the shards of one job, for example)."""

    runs: tuple[Path, ...] = field(
        metadata={
            "help": "run folders of `prm-train sample`; for prm rows they must be labeled by `prm-train "
            "label` too; for distill rows also folders of `prm-train search`"
        }
    )
    output: Path = field(metadata={"help": "folder for the rows and build.json"})
    kinds: tuple[RowKind, ...] = field(
        default=("prm", "orm"), metadata={"help": "which kinds of rows to write"}
    )
    labels: LabelView = field(default_factory=LabelView)
    filters: FilterSettings = field(default_factory=FilterSettings)
    pairs: PairSettings = field(default_factory=PairSettings)
    revision: RevisionSettings = field(default_factory=RevisionSettings)
    distill: DistillSettings = field(default_factory=DistillSettings)
    history_attempts: Annotated[int, Ge(0)] = field(
        default=4, metadata={"help": "maximum number of earlier attempts that an orm_history row shows"}
    )
    chain: ChainPrompts = field(default_factory=ChainPrompts)
    contamination: ContaminationSettings = field(default_factory=ContaminationSettings)
    validation_share: Annotated[float, Interval(ge=0, lt=1)] = field(
        default=0.0,
        metadata={
            "help": "share of the questions whose rows go to validation files; 0: no split, one file for "
            "each kind"
        },
    )
    seed: int = field(default=0, metadata={"help": "seed of every random choice"})

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("runs: got none, expected at least one folder")
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ValueError(f"kinds: got {', '.join(self.kinds) or 'none'}, expected each once")
