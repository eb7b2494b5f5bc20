"""Step labels under any names: the fields of question, steps and labels, and how labels are meant, are
settings of `convert`.

    {"question": "Why?", "model_output_steps": ["A", "B"], "model_output_solution_first_error_step": 2}        MR-GSM8K
        --generic.steps model_output_steps --generic.labels model_output_solution_first_error_step
        --generic.labels_are first_error --generic.counted_from 1 --generic.no_error N/A
    {"question": "Why?", "modified_process": ["A", "B"], "error_steps": [2]}                                   PRMBench
        --generic.steps modified_process --generic.labels error_steps --generic.labels_are wrong_steps --generic.counted_from 1
    {"question": "Why?", "process": "Why?\\n\\nA\\n\\nB", "label": ["+", "-"]}                                     older rows of openr
        --generic.steps process --generic.step_separator $'\\n\\n' --generic.labels label

All other fields are kept as columns, and so is one that holds a named field inside. A text of steps may begin
with the question, which is then no step.
"""  # noqa: E501

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from data_gen.formats.stepwise import Label, Reading, RowError, others, stepwise
from data_gen.problems.row_fields import field_value, joined_text, name_parts
from data_gen.records.first_error import NO_ERROR, labels_of
from data_gen.records.steps import check_separator, split_steps
from data_gen.settings.errors import InputError

# JSON's true and false equal 1 and 0
_RIGHT_OR_WRONG: dict[Any, bool] = {"+": True, "-": False, 1: True, 0: False}
_RATINGS = {1: True, 0: True, -1: False}


@dataclass(frozen=True)
class GenericFields:
    """Which fields of a row hold what. A name may be nested (`data.steps`); that of the question may be
    joined (`Body+Question`).
    """

    question: str = field(default="question", metadata={"help": "name of the field that holds the question"})
    steps: str = field(
        default="steps",
        metadata={
            "help": "name of the field that holds the steps: a list of texts, or one text that a "
            "step_separator divides"
        },
    )
    step_separator: str | None = field(
        default=None,
        metadata={"help": "text between two steps, if the steps are one text; null: they are a list"},
    )
    labels: str = field(default="labels", metadata={"help": "name of the field that holds the labels"})
    labels_are: Literal["each_step", "ratings", "values", "first_error", "wrong_steps"] = field(
        default="each_step",
        metadata={
            "help": "how labels are written. each_step: true or false, 1 or 0, + or -, or fractions such as "
            "0.5; "
            "ratings: 1, 0 (neutral, counts as right), -1; values: numbers from 0 to 1; first_error: one "
            "number; wrong_steps: a list of numbers. null is a step without a label"
        },
    )
    counted_from: Literal[0, 1] = field(
        default=0, metadata={"help": "the number of the first step in first_error and wrong_steps"}
    )
    no_error: int | str | None = field(
        default=NO_ERROR, metadata={"help": "the value of first_error that means that every step is right"}
    )

    def __post_init__(self) -> None:
        if self.step_separator is not None:
            check_separator(self.step_separator)


def read_row(fields: Mapping[str, Any], where: str, names: GenericFields) -> Reading:
    try:
        question = joined_text(fields, names.question, where)
        steps, labels = field_value(fields, names.steps, where), field_value(fields, names.labels, where)
    except InputError as missing:
        raise RowError(
            where,
            "a field that is not there or no text",
            f": {str(missing).removeprefix(where).lstrip(': ')}",
        ) from None
    texts = _steps(steps, question, names, where)
    used = (*name_parts(fields, names.question), names.steps, names.labels)
    row = stepwise(where, question, texts, _labels(labels, len(texts), names, where), others(fields, *used))
    return Reading((row,), Counter())


def _steps(stored: Any, question: str, names: GenericFields, where: str) -> list[str]:
    if names.step_separator is None:
        if type(stored) is not list or any(type(step) is not str for step in stored):
            raise RowError(
                where,
                f"field {names.steps!r} is no list of str",
                f": got {stored!r:.60}; one text needs a step_separator",
            )
        return stored[1:] if len(stored) > 1 and stored[0].strip() == question else stored
    if type(stored) is not str:
        raise RowError(
            where,
            f"field {names.steps!r} is no text",
            f": got {stored!r:.60}; a list of steps has step_separator null",
        )
    return [step.strip() for step in split_steps(stored.strip().removeprefix(question), names.step_separator)]


# --- labels


def _labels(stored: Any, n_steps: int, names: GenericFields, where: str) -> list[Label]:
    if names.labels_are == "first_error":
        return list(_until_first_error(stored, n_steps, names, where))
    if type(stored) is not list:
        raise RowError(
            where,
            f"field {names.labels!r} is no list",
            f": got {stored!r:.60}; one number is read with labels_are first_error",
        )
    if names.labels_are == "wrong_steps":
        wrong = {_place(number, n_steps, names, where) for number in stored}
        return [place not in wrong for place in range(n_steps)]
    if names.labels_are == "values":
        return [_value(label, where) for label in stored]
    if names.labels_are == "each_step" and any(type(label) is float for label in stored):
        return stored  # fractions; whatever else stands beside them is refused with the row
    meanings = _RATINGS if names.labels_are == "ratings" else _RIGHT_OR_WRONG
    return [None if label is None else _meaning(label, meanings, names, where) for label in stored]


def _meaning(label: Any, meanings: Mapping[Any, bool], names: GenericFields, where: str) -> bool:
    key = label.strip() if isinstance(label, str) else label
    if type(key) not in (bool, int, str) or key not in meanings:
        raise RowError(
            where,
            "a label that is none",
            f": got {label!r:.40}, expected one of {', '.join(map(str, meanings))} (labels_are "
            f"{names.labels_are}; 1 and -1 are ratings)",
        )
    return meanings[key]


def _value(label: Any, where: str) -> float | None:
    if label is None:
        return None
    if type(label) not in (int, float):
        raise RowError(where, "a value that is no number", f": got {label!r:.40}")
    return float(label)


def _until_first_error(
    stored: Any, n_steps: int, names: GenericFields, where: str
) -> tuple[bool | None, ...]:
    if _plain(stored) == _plain(names.no_error):
        return labels_of(NO_ERROR, n_steps)
    return labels_of(_place(stored, n_steps, names, where), n_steps)


def _place(number: Any, n_steps: int, names: GenericFields, where: str) -> int:
    """The place of a step from 0."""
    written = _plain(number)
    place = int(written) - names.counted_from if written.isdecimal() else n_steps
    if not 0 <= place < n_steps:
        first, last = names.counted_from, n_steps - 1 + names.counted_from
        no_error = f", or no_error, which is {names.no_error!r}" if names.labels_are == "first_error" else ""
        raise RowError(
            where,
            "the number of no step",
            f": got {number!r:.40} for {n_steps} steps, expected {first} to {last}{no_error}",
        )
    return place


def _plain(number: Any) -> str:
    """A number as text, also one that came as text or, as tables with gaps store them, as 3.0."""
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number).strip()
