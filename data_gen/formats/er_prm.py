"""Values behind tags, as in ER-PRM (Zhang et al. 2024; HanningZhang/ER-PRM-Data on the Hub): the text of
Math-Shepherd, a list of values.

    {"text": "What is 2 + 3 * 4? Step 1: 3 * 4 = 12 ки\\nStep 2: 2 + 12 = 15 ки", "value": [0.75, 0.0]}

There is one value for each tag. A tag inside or at the end of the question labels no step: its value is left
out and counted.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from data_gen.formats.first_step import named_steps, question_end
from data_gen.formats.math_shepherd import TAG
from data_gen.formats.stepwise import Reading, RowError, StepwiseRow, others, stepwise, take


def read_row(fields: Mapping[str, Any], where: str) -> Reading:
    *pieces, rest = take(fields, "text", (str,), where).split(TAG)
    if not pieces:
        raise RowError(where, f"no tag {TAG} in text", f": {rest[:60]!r}")
    if rest.strip():
        raise RowError(where, "a step without a tag", f": {rest.strip()[:60]!r} after the last {TAG}")
    values = take(fields, "value", (list,), where)
    if len(values) != len(pieces):
        raise RowError(
            where, "values and tags differ in number", f": {len(values)} values for {len(pieces)} tags"
        )
    question, n_in_question, first_step = question_end(pieces, where)
    steps = [step.strip() for step in (first_step, *pieces[n_in_question + 1 :])]
    row = stepwise(
        where,
        question,
        steps,
        [_value(value, where) for value in values[n_in_question:]],
        others(fields, "text", "value"),
    )
    return Reading((row,), Counter({"tag in the question": n_in_question} if n_in_question else {}))


def write_row(row: StepwiseRow, where: str) -> dict[str, Any]:
    """Steps that are not named `Step 1:`, `Step 2:` … get that name: without it the question has no end.
    Raises RowError.
    """
    if any(TAG in text for text in (row.prompt, *row.completions)):
        raise RowError(where, f"the text holds the tag {TAG}")
    if any(type(label) is not float for label in row.labels):
        raise RowError(where, "a step without a value", f": {list(row.labels)}")
    tagged = "\n".join(f"{step} {TAG}" for step in named_steps(row))
    return {"text": f"{row.prompt} {tagged}", "value": list(row.labels), **others(row.extra, "text", "value")}


def _value(value: Any, where: str) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise RowError(where, "value is none of 0 to 1", f": got {value!r:.40}")
    return float(value)
