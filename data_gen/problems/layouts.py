r"""From a row of a data set to a problem: which fields are read, and what in them is the gold answer.

    {"question": "Natalia sold clips to 48 of her friends ...", "answer": "Natalia sold 48/2 = ...\n#### 72"}      gsm8k
    {"problem": "How many vertical asymptotes ...", "solution": "... has $\\boxed{2}$ vertical asymptotes."}        math
    {"problem": "...", "answer": "..."}                                                                             generic

A field that is named is the one that is read, whatever the layout; recognising a layout only fills in what
was left unnamed. Where there are options, the answer is a letter (see `data_gen.problems.question_options`).
A row without an answer raises NoAnswerError with a reason to count.
"""  # noqa: E501

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from data_gen.answers.find import boxed_answers
from data_gen.answers.vote_key import answer_key
from data_gen.problems.placeholders import PLACEHOLDERS, bare, stands_for_none
from data_gen.problems.question_options import (
    Option,
    OptionAnswers,
    gold_letter,
    question_with_options,
    read_options,
)
from data_gen.problems.row_fields import field_value, has_field, joined_text, name_parts, text_of
from data_gen.records.draw_keys import content_hash
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError

OPTION_FIELDS = ("options", "choices")
ANSWERS_TO_OPTIONS = ("answer", "answerKey", "correct", "answer_idx", "answer_index")


class NoAnswerError(InputError):
    """A row that says it has no gold answer; `reason` is what is counted where it is left out."""

    def __init__(self, where: str, reason: str, details: str = "") -> None:
        super().__init__(f"{where}: {reason}{details}")
        self.reason = reason


class AnswerNotFoundError(NoAnswerError):
    """A row in which the text that should state the gold answer does not: it may be of another layout."""

    def __init__(self, where: str, expected: str) -> None:
        super().__init__(
            where, "no gold answer", f"; expected {expected} (skip_without_answer: true leaves such rows out)"
        )


@dataclass(frozen=True, kw_only=True)
class ProblemLayout:
    """Where question and gold answer stand in a row. A name may be nested (`reward_model.ground_truth`) or
    joined (`Body+Question`).
    """

    format: Literal["auto", "gsm8k", "math", "generic"] = field(
        default="auto",
        metadata={
            "help": "layout of the rows. auto: found by looking at each row; generic: the answer as it "
            "stands, without options"
        },
    )
    problem_field: str | None = field(
        default=None,
        metadata={
            "help": "name of the field that holds the question; a+b: both joined; null: as the layout has it"
        },
    )
    answer_field: str | None = field(
        default=None,
        metadata={"help": "name of the field that holds the gold answer; null: as the layout has it"},
    )
    options_field: str | None = field(
        default=None,
        metadata={
            "help": "name of the field with the options of a choice; a+b+c: one field for each; null: "
            "options or choices, if a row has them"
        },
    )
    option_answers: OptionAnswers = field(
        default="auto",
        metadata={
            "help": "how the gold answer names the right option. auto: by letter, label or text, or by its "
            "number, counted from 0"
        },
    )
    answers: Literal["one", "all", "any"] = field(
        default="one",
        metadata={
            "help": "what to do with several gold answers: refuse the row, ask for all of them, or accept "
            "any of them"
        },
    )
    several_boxes: Literal["error", "last", "leave_out"] = field(
        default="error",
        metadata={
            "help": "what to do with a reference solution without a single answer in its boxes: stop, take "
            "the last box "
            "(as MATH grades), or leave it out"
        },
    )
    placeholders: tuple[str, ...] = field(
        default=PLACEHOLDERS,
        metadata={
            "help": "gold answers that mean that there is none, in upper or lower case; []: every text is an "
            "answer"
        },
    )
    id_field: str | None = field(
        default=None,
        metadata={"help": "name of the field that holds a unique id; null: a hash of the question"},
    )


def question_id(question: str) -> str:
    """The problem_id of a question that comes without one."""
    return content_hash("problem", question)[:16]


def read_problem(fields: Mapping[str, Any], layout: ProblemLayout, where: str) -> Problem:
    """The problem of a row. Raises NoAnswerError for a row without a gold answer, InputError for one that is
    no problem.
    """
    names = _names(fields, layout)
    if layout.problem_field is None and names.question not in fields:
        raise InputError(
            f"{where}: no field {names.question!r}; fields present: {', '.join(map(repr, fields))}; "
            "problem_field names another"
        )
    question = joined_text(fields, names.question, where)
    if not question:
        raise InputError(f"{where}: the question is empty")
    options = _options(fields, names.options, where)
    golds = _gold_answers(fields, names, options, layout, where)
    if options:
        question = question_with_options(question, options)
    problem_id = joined_text(fields, layout.id_field, where) if layout.id_field else question_id(question)
    if not problem_id:
        raise InputError(f"{where}: field {layout.id_field!r} is empty; expected the id of the problem")
    return Problem(problem_id, question, golds[0], tuple(golds[1:]))


# --- which fields


class _Names(NamedTuple):
    """The fields that are read in one row, and how. `solution`: whose box answers where `answer` is empty or
    absent.
    """

    question: str
    answer: str
    options: str | None
    solution: str | None
    needs_mark: bool
    is_raw: bool


def _names(fields: Mapping[str, Any], layout: ProblemLayout) -> _Names:
    is_auto = layout.format == "auto"
    kind = _recognised(fields) if is_auto else layout.format
    options = layout.options_field
    if is_auto and options is None:
        options = next((name for name in OPTION_FIELDS if fields.get(name)), None)
    # {"question", "answer"} alone is not read as generic: where a GSM8K row lost its mark, its whole solution
    # would be the answer
    may_ask_question = (
        is_auto and (options or layout.answer_field) and "problem" not in fields and "question" in fields
    )
    answer = (
        "answer"
        if options is None
        else next((name for name in ANSWERS_TO_OPTIONS if name in fields), "answer")
    )
    return _Names(
        question=layout.problem_field or ("question" if kind == "gsm8k" or may_ask_question else "problem"),
        answer=layout.answer_field or answer,
        options=options,
        solution="solution" if kind == "math" and layout.answer_field is None else None,
        needs_mark=kind == "gsm8k" and (layout.format == "gsm8k" or layout.answer_field is None),
        is_raw=layout.format == "generic",
    )


def _recognised(fields: Mapping[str, Any]) -> Literal["gsm8k", "math", "generic"]:
    if isinstance(fields.get("question"), str) and "####" in str(fields.get("answer")):
        return "gsm8k"
    return "math" if "problem" in fields and "solution" in fields else "generic"


def _options(fields: Mapping[str, Any], name: str | None, where: str) -> list[Option]:
    if name is None:
        return []
    if "+" in name and name not in fields:
        return read_options(
            [field_value(fields, part.strip(), where) for part in name.split("+")], name, where
        )
    return read_options(field_value(fields, name, where), name, where)


# --- the gold answer


def _gold_answers(
    fields: Mapping[str, Any], names: _Names, options: list[Option], layout: ProblemLayout, where: str
) -> list[str]:
    """One gold answer, or several of which each is right."""
    items = _answer_items(fields, names, layout, where)
    golds = _distinct(_read_items(items, names, options, layout, where))
    if not golds and not items and has_field(fields, names.answer):
        raise NoAnswerError(where, "no gold answer", f": field {names.answer} is empty")
    if not golds:
        boxed = f", or \\boxed{{...}} in field {names.solution}" if names.solution else ""
        mark = "a last line '#### n' in " if names.needs_mark else ""
        raise AnswerNotFoundError(where, f"{mark}field {names.answer}{boxed}")
    if len(golds) == 1 or layout.answers == "any":
        return golds
    if layout.answers == "all":
        return [", ".join(golds)]
    raise InputError(
        f"{where}: field {names.answer!r}: got {len(golds)} answers: {golds!r:.80}; say with answers: all "
        "that they are the parts of one, "
        "with answers: any that each of them is right"
    )


def _read_items(
    items: list[Any], names: _Names, options: list[Option], layout: ProblemLayout, where: str
) -> list[str]:
    """The answer that each item states, a letter where there are options; empty where it states none."""
    if not options:
        items = [text_of(item, names.answer, where) for item in items]
    stated = [_stated(item, names, layout, where) if isinstance(item, str) else item for item in items]
    _refuse_placeholders(stated, options, layout, where)
    if not options:
        return stated
    return [
        gold_letter(answer, options, layout.option_answers, names.answer, where)
        for answer in stated
        if answer != ""
    ]


def _distinct(golds: list[str]) -> list[str]:
    """Those that say something, each once and as it was written first."""
    first: dict[str, str] = {}
    for gold in golds:
        if gold:
            first.setdefault(answer_key(gold), gold)
    return list(first.values())


def _answer_items(fields: Mapping[str, Any], names: _Names, layout: ProblemLayout, where: str) -> list[Any]:
    """What the field of the answer holds, without what is empty; where nothing is left, what the solution
    boxes.
    """
    if len(name_parts(fields, names.answer)) > 1:
        items = _items(joined_text(fields, names.answer, where))
    elif names.solution is None or has_field(fields, names.answer):
        items = _items(field_value(fields, names.answer, where))
    else:
        items = []
    if not items and names.solution is not None and has_field(fields, names.solution):
        items = _items(_boxed(joined_text(fields, names.solution, where), layout, where))
    return items


def _items(value: Any) -> list[Any]:
    """The answers in a field: those of a list, else the one value; without those that are empty."""
    items = value if isinstance(value, list) else [value]
    return [
        item
        for item in items
        if item is not None and item != "" and not (isinstance(item, str) and not item.strip())
    ]


def _stated(text: str, names: _Names, layout: ProblemLayout, where: str) -> str:
    """The answer that a text states: behind `####`, in its boxes, or all of it; empty if it states none."""
    if names.needs_mark or ("####" in text and not names.is_raw):
        return _marked(text)
    return text if names.is_raw else _boxed(text, layout, where) or text


def _refuse_placeholders(
    answers: list[Any], options: list[Option], layout: ProblemLayout, where: str
) -> None:
    """Raises NoAnswerError for an answer that says that there is none; what is one of the options says
    something.
    """
    texts = [option.text for option in options]
    for answer in answers:
        if stands_for_none(str(answer), layout.placeholders, texts):
            raise NoAnswerError(where, f"a gold answer that stands for none: {bare(str(answer))!r}")


def _marked(text: str) -> str:
    """What stands behind the last `####` on its line; 1,234 is written as 1234."""
    _, mark, final = text.rpartition("####")
    return re.sub(r"(?<=\d),(?=\d{3})", "", final.strip().partition("\n")[0].strip()) if mark else ""


def _boxed(text: str, layout: ProblemLayout, where: str) -> str:
    boxed = boxed_answers(text)
    if len(boxed) <= 1 or layout.several_boxes == "last":
        return boxed[-1] if boxed else ""
    found = ", ".join(f"\\boxed{{{each}}}" for each in boxed)
    if layout.several_boxes == "leave_out":
        raise NoAnswerError(where, "several boxes that are not one answer")
    raise InputError(
        f"{where}: {len(boxed)} boxes with words between them: {found:.120}; expected one answer "
        "(several_boxes: leave_out leaves "
        "such rows out, several_boxes: last takes the last box)"
    )
