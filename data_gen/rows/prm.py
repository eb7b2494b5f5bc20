"""PRM rows from labeled solutions: which of them, and how their labels are read."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from data_gen.labeling.views import LabelView, view_labels
from data_gen.records.solutions import LabeledSolution, Problem
from data_gen.rows.filters import Filter
from data_gen.rows.layouts import EVIDENCE, PrmRow


def prm_rows(
    problem: Problem, labeled: Sequence[LabeledSolution], view: LabelView, rule: Filter
) -> tuple[list[PrmRow], Counter[str]]:
    """A row for each distinct solution of a question that has a label, and how many solutions were left out
    by reason.

    Reasons: those of `Filter.faults`, non_monotone, no_label, duplicate (the same steps). `labels masked:
    non_monotone` counts rows.
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
            evidence: dict[str, Any] = {
                name: tuple(getattr(estimate, name) for estimate in each.estimates) for name in EVIDENCE
            }
            rows.append(PrmRow(problem.problem_id, problem.question, each.steps, labels, **evidence))
    return rows, +counts
