"""What a set of training rows holds and where it comes from: the facts of build.json, from which a dataset
card is written.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

from data_gen.files.stored_record import StoredRecord, read_object
from data_gen.labeling.summary import ConsensusSummary, LabelSummary
from data_gen.labeling.views import LabelView
from data_gen.rows.build_record import RunDescription
from data_gen.rows.layouts import (
    AnyRow,
    DistillRow,
    OrmHistoryRow,
    OrmPair,
    OrmRow,
    PrmRow,
    RevisionRow,
    RowKind,
)
from data_gen.rows.search_candidates import SearchTotals, is_search
from data_gen.sampling.summary import SampleSummary

Summary = TypeVar("Summary", bound=StoredRecord)


def describe_run(run: Path) -> RunDescription:
    """Settings and summaries of a run: policy, sampling, verdict counts, labeling method, price. None where
    it has none.
    """

    def read(path: Path, kind: type[Summary]) -> Summary | None:
        return kind.read(path) if path.is_file() else None

    return RunDescription(
        run=run.name,
        config=read_object(run / "config.json") if (run / "config.json").is_file() else None,
        sample=read(run / "sample.json", SampleSummary),
        label=read(run / "label.json", LabelSummary),
        consensus=read(run / "consensus.json", ConsensusSummary),
        search=read(run / "search.json", SearchTotals) if is_search(run) else None,
    )


def label_meaning(kind: RowKind, view: LabelView) -> str:
    """In words what is learnt from a row of this kind."""
    return {
        "prm": f"labels: whether a step is right, {view.meaning}; n_correct of n_rollouts rollouts from the "
        "end of the step were right: "
        "the value of that prefix under the sampling policy",
        "orm": "label: whether the final answer is right",
        "orm_pairs": "chosen: a solution whose final answer is right; rejected: one of the same question "
        "whose final answer is wrong",
        "orm_history": "label: whether the final answer of the completion is right, given the earlier "
        "attempts in the prompt",
        "revision": "completion: a solution whose final answer is right, after the earlier attempts in the "
        "prompt; learn it alone",
        "distill": "completion: a solution to learn; verdict: what is known of its answer",
    }[kind]


class RowFacts:
    """Counts over rows of one kind as they pass: classes, attempts, methods, and problems (a problem's rows
    come together).
    """

    def __init__(self, kind: RowKind) -> None:
        self._kind = kind
        self._counts: dict[str, Counter[str]] = {}
        self._totals: Counter[str] = Counter()
        self._problem = ""
        self._classes: set[bool] = set()  # of the current problem

    def add(self, row: AnyRow) -> None:
        if row.problem_id != self._problem:
            self._end_problem()
            self._problem = row.problem_id
            self._totals["n_problems"] += 1
        match row:
            case PrmRow():
                self._add_steps(row)
            case OrmRow() | OrmHistoryRow():
                self._count("labels", row.label)
                self._classes.add(row.label)
            case OrmPair():
                pass
            case RevisionRow():
                self._count("kinds", row.kind)
            case DistillRow():
                self._count("sources", row.source)
                self._count("verdicts", row.verdict)
        if isinstance(row, OrmHistoryRow | RevisionRow):
            self._count("n_attempts", row.n_attempts)

    def counts(self) -> dict[str, Any]:
        """By the names of `KindSummary`; a count that the kind does not have is not among them."""
        self._end_problem()
        self._problem = ""
        return {
            **self._totals,
            **{name: dict(sorted(counter.items())) for name, counter in sorted(self._counts.items())},
        }

    def _add_steps(self, row: PrmRow) -> None:
        self._totals["n_steps"] += len(row.completions)
        self._totals["n_rollouts"] += sum(row.n_rollouts)
        self._totals["n_unknown_rollouts"] += sum(row.n_unknown)
        self._totals["n_rows_with_error"] += False in row.labels
        self._totals["n_rows_without_error"] += False not in row.labels
        for name, values in (("labels", row.labels), ("methods", row.method), ("stopping", row.stopping)):
            for value in values:
                self._count(name, value)

    def _count(self, name: str, value: object) -> None:
        self._counts.setdefault(name, Counter())[
            json.dumps(value) if isinstance(value, bool | None) else str(value)
        ] += 1

    def _end_problem(self) -> None:
        if self._kind in ("orm", "orm_history") and self._problem:
            self._totals["n_problems_with_both_labels"] += len(self._classes) == 2
        self._classes = set()
