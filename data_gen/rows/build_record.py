"""build.json, which `prm-train build` leaves beside its rows. Rows come from anywhere: what it says is
checked before it is used.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from data_gen.files.stored_record import StoredRecord
from data_gen.labeling.summary import ConsensusSummary, LabelSummary
from data_gen.rows.contamination import TestSetMatches
from data_gen.rows.layouts import RowKind
from data_gen.rows.search_candidates import SearchTotals
from data_gen.sampling.summary import SampleSummary
from data_gen.settings.errors import InputError


def _is_split(name: str) -> str:
    if not re.fullmatch(r"\w+", name):
        raise ValueError("a split is letters, digits and _")
    return name


def _is_plain_name(name: str) -> str:
    if name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise ValueError("no name of a file in this folder")
    return name


def _names_runs(config: dict[str, Any]) -> dict[str, Any]:
    runs = config.get("runs")
    if runs is not None and not (isinstance(runs, list) and all(isinstance(run, str) for run in runs)):
        raise ValueError("runs is no list of folders")
    return config


Files = Mapping[Annotated[str, AfterValidator(_is_split)], Annotated[str, AfterValidator(_is_plain_name)]]


@dataclass(frozen=True)
class RunDescription:
    """What `sample`, `label` and `consensus`, or `search`, left in the folder `run`; None where they did not.
    `config` are the settings of `sample` or `search`.
    """

    run: str
    config: dict[str, Any] | None
    sample: SampleSummary | None
    label: LabelSummary | None
    consensus: ConsensusSummary | None = None
    search: SearchTotals | None = None


@dataclass(frozen=True)
class Contamination:
    """How the problems were compared with test sets."""

    test_sets: Mapping[str, TestSetMatches]
    n_matching_problems: int
    n_dropped_problems: int


@dataclass(frozen=True)
class KindSummary:
    """The rows of one kind. `left_out` counts solutions by reason; the counts that a kind does not have are
    None (`rows.facts`).
    """

    n_rows: int = 0
    n_rows_by_split: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    n_problems: int | None = None
    n_problems_with_both_labels: int | None = None
    n_steps: int | None = None
    n_rollouts: int | None = None
    n_unknown_rollouts: int | None = None
    n_rows_with_error: int | None = None
    n_rows_without_error: int | None = None
    labels: Mapping[str, int] | None = None
    methods: Mapping[str, int] | None = None
    stopping: Mapping[str, int] | None = None
    kinds: Mapping[str, int] | None = None
    n_attempts: Mapping[str, int] | None = None
    sources: Mapping[str, int] | None = None
    verdicts: Mapping[str, int] | None = None
    label_meaning: str = ""
    distances: Mapping[str, Mapping[str, float | int | None]] | None = None


@dataclass(frozen=True)
class BuildRecord(StoredRecord):
    """The settings, the runs that the rows come from, the files by kind and split, and what is in them."""

    WRITTEN_BY = "`prm-train build`"

    config: Annotated[dict[str, Any], AfterValidator(_names_runs)] = field(default_factory=dict)
    runs: tuple[RunDescription, ...] = ()
    n_problems: int | None = None
    contamination: Contamination | None = None
    n_problems_by_split: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[RowKind, Files] = field(default_factory=dict)
    prm: KindSummary | None = None
    orm: KindSummary | None = None
    orm_pairs: KindSummary | None = None
    orm_history: KindSummary | None = None
    revision: KindSummary | None = None
    distill: KindSummary | None = None

    def with_kinds(self, kinds: Mapping[RowKind, KindSummary]) -> "BuildRecord":
        return replace(
            self,
            prm=kinds.get("prm"),
            orm=kinds.get("orm"),
            orm_pairs=kinds.get("orm_pairs"),
            orm_history=kinds.get("orm_history"),
            revision=kinds.get("revision"),
            distill=kinds.get("distill"),
        )

    def kind(self, kind: str) -> KindSummary | None:
        summary: KindSummary | None = getattr(self, kind)
        return summary


def read_build(rows: Path) -> BuildRecord | None:
    """What `prm-train build` noted beside the rows; None if they came from elsewhere.

    Raises InputError where it is something else: an unknown kind of rows, a split that is no word, a file
    that is not in this folder.
    """
    path = rows / "build.json"
    if not path.is_file():
        return None
    record = BuildRecord.read(path)
    folders = record.config.get("runs")
    if folders is not None and len(folders) != len(record.runs):
        raise InputError(
            f"{path}: {len(folders)} runs in config and {len(record.runs)} described; expected as many"
        )
    return record
