r"""Answers of several parts: points, intervals, sets, lists and matrices of one row or column, component by
component.

Without brackets a list of numbers is a multiset (`1,2` is `2,1`, and not `1,1,2`) and a list of words is
ordered (another order: ambiguous); braces make a set; a point is the same as a column, a row and a list
without brackets. Parts with names (`x = 5, y = 6`) are compared by name, against parts without in the order
of the alphabet.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from data_gen.answers.notation import WrittenAnswer, read_answer, read_number
from data_gen.answers.vote_key import answer_key
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict, unknown

AMBIGUOUS = unknown("ambiguous")
MAX_BRACKETS = 32  # of a point of points; bounds the recursion
MAX_PARTS = 50
Compare = Callable[[str, str], Verdict | None]

_BRACKETED = re.compile(r"([(\[]|\\\{)(.*)([)\]]|\\\})", re.DOTALL)
_ONE_LINE_MATRIX = re.compile(r"\\begin\{([pb]?matrix)\}(.*)\\end\{\1\}", re.DOTALL)
_CELLS = re.compile(r"&|\\\\")
_JOINED = re.compile(r",?\s+(?:and|or)\s+|;|,?\s+&\s+", re.IGNORECASE)
_NAMED_PART = re.compile(r"([a-zA-Z](?:_\{?\w+\}?)?)\s*=\s*([^=<>]+)")
_PROSE = re.compile(r"[a-zA-Z]{3,}")


class Parts(NamedTuple):
    """The brackets around an answer ("" for none), its parts, and whether they were joined by the word
    `or`.
    """

    brackets: str
    parts: list[str]
    is_either: bool = False


def compare_parts(gold: WrittenAnswer, answer: WrittenAnswer, compare: Compare) -> Verdict | None:
    """The verdict where at least one of two answers has several parts; None where it takes algebra. `compare`
    settles two parts.
    """
    if max(gold.plain.count("("), answer.plain.count("(")) > MAX_BRACKETS:
        return None
    one, other = split(gold.plain), split(answer.plain)
    if _is_single_set(one) and not answer.plain.startswith("\\{"):
        return compare(one.parts[0], answer.plain)
    if _is_single_set(other) and not gold.plain.startswith("\\{"):
        return compare(gold.plain, other.parts[0])
    if not 2 <= max(len(one.parts), len(other.parts)) <= MAX_PARTS:
        return None
    named = _by_name(one, other)
    if named is not None:
        return _compare_named(*named, compare)
    if (
        one.brackets
        and other.brackets
        and one.brackets != other.brackets
        and min(len(one.parts), len(other.parts)) > 1
    ):
        return INCORRECT  # an interval, its closure, a point and a set differ
    if any(len(written.parts) == 1 and _is_prose(written.parts[0]) for written in (one, other)):
        return None
    if "()" not in (one.brackets, other.brackets) and not any(
        bracket in one.brackets + other.brackets for bracket in "[]"
    ):
        return _compare_unordered(one, other, compare)
    if len(one.parts) != len(other.parts):
        return INCORRECT if all(map(read_number, one.parts + other.parts)) else None
    return _in_order(one, other, compare)


def _is_single_set(written: Parts) -> bool:
    r"""A set of one part is that part: `\{(1,2)\}` is `(1,2)`."""
    return written.brackets == "{}" and len(written.parts) == 1


def _compare_named(one: Parts, other: Parts, compare: Compare) -> Verdict | None:
    if "≠" in one.brackets:
        return AMBIGUOUS  # x=1, x=2 against x=1, y=2
    if "=" in one.brackets and sorted(one.parts) == sorted(other.parts) and one.parts != other.parts:
        return AMBIGUOUS  # the same values, and nobody says in which order the names come
    verdict = _in_order(Parts("()", one.parts), Parts("()", other.parts), compare)
    return AMBIGUOUS if verdict == INCORRECT and "?" in one.brackets + other.brackets else verdict


def _in_order(one: Parts, other: Parts, compare: Compare) -> Verdict | None:
    verdicts = [compare(part, other_part) for part, other_part in zip(one.parts, other.parts, strict=True)]
    if all(verdict == CORRECT for verdict in verdicts):
        return CORRECT
    if INCORRECT in verdicts:
        return (
            INCORRECT
            if one.brackets == other.brackets or all(map(read_number, one.parts + other.parts))
            else None
        )
    return next((verdict for verdict in verdicts if verdict is not None and verdict.is_unknown), None)


def _compare_unordered(one: Parts, other: Parts, compare: Compare) -> Verdict | None:
    is_set = "{}" in (one.brackets, other.brackets)
    keys = [Counter(map(answer_key, written.parts)) for written in (one, other)]
    for written, alone in ((one, other), (other, one)):
        if (
            written.is_either
            and len(alone.parts) == 1
            and all(compare(written.parts[0], part) == CORRECT for part in written.parts[1:])
        ):
            return _any(
                compare(*((part, alone.parts[0]) if written is one else (alone.parts[0], part)))
                for part in written.parts
            )
    if all(any(read_answer(part).unit for part in written.parts) for written in (one, other)):
        return _match(one.parts, other.parts, compare, is_set)  # a key knows no units
    if keys[0] == keys[1] or (is_set and set(keys[0]) == set(keys[1])):
        is_ordered = not is_set and list(map(answer_key, one.parts)) != list(map(answer_key, other.parts))
        return AMBIGUOUS if is_ordered and any(map(_is_word, one.parts)) else CORRECT
    if set(keys[0]) == set(keys[1]):
        return INCORRECT  # the same values, another number of times
    if any(map(_is_word, one.parts + other.parts)):
        return _compare_words(one, other)
    if all(map(read_number, one.parts + other.parts)):
        return _match(one.parts, other.parts, compare, is_set)
    if len(one.parts) == len(other.parts):
        return (
            CORRECT
            if all(compare(*pair) == CORRECT for pair in zip(one.parts, other.parts, strict=True))
            else None
        )
    return None


def _any(verdicts: Iterable[Verdict | None]) -> Verdict | None:
    """Of one value in several forms: right if one form is."""
    found = list(verdicts)
    return CORRECT if CORRECT in found else found[0]


def _match(parts: Sequence[str], others: Sequence[str], compare: Compare, is_set: bool) -> Verdict:
    """Amounts of two lists matched one to one (in sets, each with any): units and percentages count as
    between two answers.
    """
    verdicts = [[compare(part, other) for other in others] for part in parts]
    if is_set:
        rows = [CORRECT in row for row in verdicts] + [
            CORRECT in column for column in zip(*verdicts, strict=True)
        ]
        is_equal = all(rows)
    else:
        free = list(range(len(others)))
        for row in verdicts:
            found = next((i for i in free if row[i] == CORRECT), None)
            free = [i for i in free if i != found]
        is_equal = len(parts) == len(others) and not free
    if is_equal:
        return CORRECT
    unknowns = [
        AMBIGUOUS if verdict is None else verdict
        for row in verdicts
        for verdict in row
        if verdict is None or verdict.is_unknown
    ]
    return unknowns[0] if unknowns and len(parts) == len(others) else INCORRECT


def _compare_words(one: Parts, other: Parts) -> Verdict | None:
    if not (all(map(_is_word, one.parts)) and all(map(_is_word, other.parts))):
        return None
    sets = [set(map(answer_key, written.parts)) for written in (one, other)]
    return AMBIGUOUS if sets[0] == sets[1] else INCORRECT


def _by_name(one: Parts, other: Parts) -> tuple[Parts, Parts] | None:
    """Both as ordered values, where at least one has only parts with names; brackets `=` where the order is a
    guess.
    """
    repeated = [_repeated_names(written.parts) for written in (one, other)]
    if any(repeated):
        named = [
            names or set(_names(written.parts)) for names, written in zip(repeated, (one, other), strict=True)
        ]
        return (
            None
            if not all(named) or named[0] == named[1]
            else (Parts("≠", one.parts), Parts("", other.parts))
        )
    names = [_names(written.parts) for written in (one, other)]
    if not any(names) or len(one.parts) != len(other.parts):
        return None
    if names[0] and names[1]:
        if set(names[0]) != set(names[1]):
            return None
        return Parts("", list(names[0].values())), Parts("", [names[1][name] for name in names[0]])
    values = [
        [found[name] for name in sorted(found)] if found else written.parts
        for found, written in zip(names, (one, other), strict=True)
    ]
    ordered = next(found for found in names if found)
    is_usual = "".join(sorted(ordered)) in "abcdefghijklmnopqrstuvwxyz" and len(ordered) > 1
    unnamed = other if names[0] else one
    # n=10, m=3 may be told as 10, 3: in the order in which the names came
    is_told = not unnamed.brackets and list(map(answer_key, ordered.values())) == list(
        map(answer_key, unnamed.parts)
    )
    return Parts("?" if is_told else "" if is_usual else "=", values[0]), Parts("", values[1])


def _repeated_names(parts: Sequence[str]) -> set[str]:
    """The names of `x=1, x=2`; empty where no name comes twice, or a part has none."""
    found = [_NAMED_PART.fullmatch(part) for part in parts]
    names = [match[1] for match in found if match]
    return set(names) if len(names) == len(parts) and len(set(names)) < len(names) else set()


def _names(parts: Sequence[str]) -> dict[str, str]:
    found = [_NAMED_PART.fullmatch(part) for part in parts]
    named = {match[1]: match[2].strip() for match in found if match}
    return named if len(named) == len(parts) > 1 else {}


def _is_word(part: str) -> bool:
    return part.isalpha() or (_is_prose(part) and read_number(part) is None)


def _is_prose(part: str) -> bool:
    return "\\" not in part and _PROSE.search(part) is not None and read_number(part) is None


def split(written: str) -> Parts:
    """An answer without layout at the commas, semicolons, `and` and `or` that stand in no bracket."""
    matrix = _ONE_LINE_MATRIX.fullmatch(written)
    if matrix and not ("&" in matrix[2] and "\\\\" in matrix[2]):
        return Parts("()", [cell.strip() for cell in _CELLS.split(matrix[2])])
    is_either = " or " in written
    joined = _JOINED.sub(", ", written) if ";" in written or " " in written else written
    bracketed = _BRACKETED.fullmatch(joined)
    if bracketed:
        parts = _at_commas(bracketed[2])
        if parts is not None:
            return Parts((bracketed[1] + bracketed[3]).replace("\\", ""), parts)
    return Parts("", [part for part in _at_commas(joined) or [] if part] or [written], is_either)


def _at_commas(text: str) -> list[str] | None:
    """None where the brackets of `text` do not close in order: then those around it are no pair, as in
    `(1,2),(3,4)`.
    """
    depth, start, parts = 0, 0, []
    for i, character in enumerate(text):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth < 0:
                return None
        elif character == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    return None if depth else [*parts, text[start:].strip()]
