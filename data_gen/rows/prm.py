"""PRM rows from labeled solutions: which of them, and how their labels are read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Interval

from data_gen.labeling.views import cleared, hard
from data_gen.records.solutions import LabeledSolution, Problem
from data_gen.rows.filters import Filter
from data_gen.rows.layouts import EVIDENCE, PrmRow
from data_gen.settings.errors import InputError


@dataclass(frozen=True)
class LabelView:
    """How the label of a step is read. The counts stay in the rows, so that training can read them another way."""

    hard_threshold: Annotated[float, Interval(ge=0, lt=1)] | None = field(
        default=None,
        metadata={"help": "call a step right if more than this share of its rollouts succeed; null: as the labeling method says"},
    )
    until_first_error: bool = field(
        default=False,
        metadata={"help": "give no label after the first wrong step, and call no step wrong if rollouts after a later step succeeded"},
    )
    non_monotone: Literal["keep", "mask", "drop"] = field(
        default="keep",
        metadata={
            "help": "solutions whose rollouts succeed again after the located error: keep them, give no label "
            "from that error on, or leave them out"
        },
    )

    @property
    def meaning(self) -> str:
        """What a label says, in words for a dataset card."""
        rule = (
            "as the labeling method says"
            if self.hard_threshold is None
            else f"true if more than {self.hard_threshold:g} of the rollouts from the end of the step are right"
        )
        return rule + (", null after the first wrong step" if self.until_first_error else "")


def prm_rows(problem: Problem, labeled: Sequence[LabeledSolution], view: LabelView, rule: Filter) -> tuple[list[PrmRow], Counter[str]]:
    """A row for each distinct solution of a question that has a label, and how many solutions were left out by reason.

    Reasons: those of `Filter.faults`, non_monotone, no_label, duplicate (the same steps). `labels masked: non_monotone` counts rows.
    """
    rows, counts, seen = [], Counter[str](), set()
    for each, fault in zip(labeled, rule.faults(problem, [each.graded for each in labeled]), strict=True):
        labels = view_labels(each, view)
        if fault is not None:
            counts[fault] += 1
        elif each.non_monotone and view.non_monotone == "drop":
            counts["non_monotone"] += 1
        elif all(label is None for label in labels):
            counts["no_label"] += 1
        elif each.steps in seen:
            counts["duplicate"] += 1
        else:
            seen.add(each.steps)
            counts["labels masked: non_monotone"] += bool(each.non_monotone) and view.non_monotone == "mask"
            evidence: dict[str, Any] = {name: tuple(getattr(estimate, name) for estimate in each.estimates) for name in EVIDENCE}
            rows.append(PrmRow(problem.problem_id, problem.question, each.steps, labels, **evidence))
    return rows, +counts


def view_labels(labeled: LabeledSolution, view: LabelView) -> tuple[bool | None, ...]:
    """The labels under a view. Raises InputError where counts cannot be compared with the threshold."""
    labels = labeled.labels
    if view.hard_threshold is not None:
        try:
            labels = hard(labeled.estimates, view.hard_threshold)
        except InputError as fault:
            solution = labeled.graded.solution
            raise InputError(f"solution {solution.index} of problem {solution.problem_id}, {fault}") from None
    if labeled.non_monotone and view.non_monotone == "mask":
        return tuple(label if step < _first_wrong(labels) else None for step, label in enumerate(labels))
    if view.until_first_error:
        labels = cleared(labels, labeled.estimates)
        return tuple(label if step <= _first_wrong(labels) else None for step, label in enumerate(labels))
    return labels


def _first_wrong(labels: Sequence[bool | None]) -> int:
    return labels.index(False) if False in labels else len(labels)
