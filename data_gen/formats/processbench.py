"""ProcessBench (Zheng et al. 2024; Qwen/ProcessBench on the Hub): the first wrong step of a solution, found
by people.

    {"id": "gsm8k-0", "generator": "Qwen2-7B-Instruct", "problem": "Sue lives in ...", "steps": ["To find out ...", ...],
     "final_answer_correct": false, "label": 1}

`label` is the place of the first error from 0, -1 if there is none: True before it, False at it, None after
it.
"""  # noqa: E501

from collections import Counter
from collections.abc import Mapping
from typing import Any

from data_gen.formats.stepwise import Reading, RowError, StepwiseRow, others, stepwise, take, take_texts
from data_gen.records.first_error import first_error, labels_of


def read_row(fields: Mapping[str, Any], where: str) -> Reading:
    steps, error = take_texts(fields, "steps", where), take(fields, "label", (int,), where)
    take(fields, "id", (str, type(None)), where)
    take(fields, "generator", (str, type(None)), where)
    take(fields, "final_answer_correct", (bool, type(None)), where)
    try:
        labels = labels_of(error, len(steps))
    except ValueError as problem:
        raise RowError(where, "label is no step", f": {problem}") from None
    row = stepwise(
        where,
        take(fields, "problem", (str,), where),
        steps,
        labels,
        others(fields, "problem", "steps", "label"),
    )
    return Reading((row,), Counter())


def write_row(row: StepwiseRow, where: str) -> dict[str, Any]:
    """Id, generator and final_answer_correct are null where the row does not say them. Raises RowError where
    no first error can be read.
    """
    hard = [label for label in row.labels if not isinstance(label, float)]
    if len(hard) != len(row.labels):
        raise RowError(where, "labels are values", "; a first error needs true or false")
    error = first_error(hard)
    if error is None:
        raise RowError(where, "a step without a label before the first error", f": {hard}")
    known = {
        "id": row.extra.get("id"),
        "generator": row.extra.get("generator"),
        "problem": row.prompt,
        "steps": list(row.completions),
        "final_answer_correct": row.extra.get("final_answer_correct"),
        "label": error,
    }
    return known | others(row.extra, *known)
