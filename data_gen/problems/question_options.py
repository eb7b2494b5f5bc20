"""Questions with options: the options become lettered lines below the question, and the gold answer is a
letter.

    {"question": "What is 2+2?", "choices": ["3", "4", "5", "6"], "answer": 1}                                MMLU: a place from 0
    {"question": "A car ...", "options": ["A)5(√3 + 1)", "B)6(√3 + √2)"], "correct": "A"}                     AQuA: a letter
    {"question": "Which ...", "choices": {"text": ["ice", "steam"], "label": ["1", "2"]}, "answerKey": "2"}   ARC: one of the labels

An answer may also be the text of one option. Where that and a letter say different things, the row is
refused: `option_answers` tells.
"""  # noqa: E501

import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any, Literal, NamedTuple

from data_gen.problems.row_fields import text_of
from data_gen.settings.errors import InputError

OptionAnswers = Literal["auto", "letter", "index", "index_from_1", "text"]
_LETTER = re.compile(r"\(?([A-Za-z])\s?[).:]?\)?")
_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}|\$")
_MARKED = re.compile(r"\(?([A-Za-z])\s?[).:]\s*(?=\S)")
_MARK_IN_TEXT = re.compile(r"(?:^|(?<=[\s,;]))\(?([A-Za-z])\s?[).:]\s*")


class Option(NamedTuple):
    """`label` is what the data calls it, empty where it says nothing; `text` is without a label; `as_given`
    is the value in the row.
    """

    label: str
    text: str
    as_given: Any


def question_with_options(question: str, options: Sequence[Option]) -> str:
    """The question, and below it a line `A) text` for each option."""
    return "\n".join(
        [
            question,
            *(
                f"{letter}) {option.text}".rstrip()
                for letter, option in zip(ascii_uppercase, options, strict=False)
            ),
        ]
    )


def read_options(value: Any, name: str, where: str) -> list[Option]:
    """The options of a field; none if it is null or empty.

    A list of texts or of {label, text}, two lists as {"text": [...], "label": [...]}, texts by their letters
    {"A": ..., "B": ...}, or one text `a ) 38 , b ) 27.5`. Raises InputError for anything else, for a single
    option and for more than 26.
    """
    if value is None or value in ("", [], {}):
        return []
    labels, given = _labels_and_values(value, name, where)
    texts = [text_of(each, name, where) for each in given]
    n_options = max(
        (place for place, text in enumerate(texts, 1) if text), default=0
    )  # columns A to E hold nothing in E where there are four
    if not 2 <= n_options <= len(ascii_uppercase) or len(labels) != len(texts):
        raise InputError(
            f"{where}: field {name!r}: got {value!r:.80}, expected 2 to 26 options, each with its label if "
            "one has (format generic: none)"
        )
    labels, texts, given = labels[:n_options], texts[:n_options], given[:n_options]
    marks = [_MARKED.match(text) for text in texts]
    if not any(labels) and all(
        mark and mark[1].upper() == letter for mark, letter in zip(marks, ascii_uppercase, strict=False)
    ):
        labels = list(ascii_uppercase[: len(texts)])
        texts = [text[mark.end() :] for mark, text in zip(marks, texts, strict=True) if mark]
    return [Option(*each) for each in zip(labels, texts, given, strict=True)]


def gold_letter(answer: Any, options: Sequence[Option], how: OptionAnswers, name: str, where: str) -> str:
    """The letter of the option that `answer` means. Raises InputError where it means none, or one by its
    letter and another by its text.
    """
    text = text_of(answer, name, where)
    labels = [option.label for option in options]
    if how in ("auto", "letter") and text in labels:
        return ascii_uppercase[labels.index(text)]
    asked = _readings(answer, options) if how == "auto" else (how,)
    found = {place for reading in asked for place in _places(text, options, reading)}
    if len(found) == 1:
        return ascii_uppercase[found.pop()]
    meant = " or ".join(ascii_uppercase[place] for place in sorted(found)) or "none"
    raise InputError(
        f"{where}: field {name!r}: got {answer!r:.60}, which by {' or '.join(asked)} means {meant} of the "
        f"{len(options)} options; say with "
        "option_answers how it is meant (letter, index, index_from_1 or text), or read no options with "
        "format generic"
    )


# --- what an answer means


def _readings(answer: Any, options: Sequence[Option]) -> tuple[OptionAnswers, ...]:
    """A number is a place, unless the options are numbers themselves; a text never is: from where it counts
    cannot be seen in a row.
    """
    if not isinstance(answer, int | float):
        return ("letter", "text")
    return ("text",) if all(isinstance(option.as_given, int | float) for option in options) else ("index",)


def _places(answer: str, options: Sequence[Option], reading: OptionAnswers) -> list[int]:
    """The places from 0 of the options that `answer` may mean under one reading."""
    if reading == "letter":
        return _places_by_letter(_TEXT_COMMAND.sub(r"\1", answer).strip(), options)
    if reading == "text":
        wanted = " ".join(answer.split())
        return [place for place, option in enumerate(options) if wanted in _ways_to_write(option)]
    number = int(answer) - (reading == "index_from_1") if answer.isdecimal() else len(options)
    return [number] if 0 <= number < len(options) else []


def _places_by_letter(answer: str, options: Sequence[Option]) -> list[int]:
    """Of `B`, `(b)` or `B.`, and of `B) 4` if that is the text of option B."""
    letter, marked = _LETTER.fullmatch(answer), _MARKED.match(answer)
    found = letter or marked
    place = ascii_uppercase.index(found[1].upper()) if found else len(options)
    if place >= len(options):
        return []
    is_whole = letter is not None or (
        marked is not None and answer[marked.end() :].strip() in _ways_to_write(options[place])
    )
    return [place] if is_whole else []


def _ways_to_write(option: Option) -> tuple[str, str]:
    return " ".join(option.text.split()), " ".join(str(option.as_given).split())


# --- the layouts of options


def _labels_and_values(value: Any, name: str, where: str) -> tuple[list[str], list[Any]]:
    """What the data calls each option (empty where it says nothing) and what it is."""
    if (
        isinstance(value, Mapping)
        and isinstance(value.get("text"), list)
        and isinstance(value.get("label"), list)
    ):
        return [str(label) for label in value["label"]], value["text"]
    if isinstance(value, Mapping):
        return [str(label) for label in value], list(value.values())
    if isinstance(value, list) and all(
        isinstance(each, Mapping) and {"label", "text"} <= set(each) for each in value
    ):
        return [str(each["label"]) for each in value], [each["text"] for each in value]
    if isinstance(value, list):
        return [""] * len(value), value
    if not isinstance(value, str):
        raise InputError(
            f"{where}: field {name!r}: got {type(value).__name__}, expected options: a list of texts"
        )
    texts = _cut_at_letters(value)
    return list(ascii_uppercase[: len(texts)]), texts


def _cut_at_letters(text: str) -> list[str]:
    """`a ) 38 , b ) 27.5` is cut before the next letter of the alphabet, where that is first marked so."""
    places: list[tuple[int, int]] = []
    for mark in _MARK_IN_TEXT.finditer(text):
        if mark[1].upper() == ascii_uppercase[len(places) % len(ascii_uppercase)]:
            places.append(mark.span())
    ends = [start for start, _ in places[1:]] + [len(text)]
    return [text[begin:end].strip(" ,;\n") for (_, begin), end in zip(places, ends, strict=True)]
