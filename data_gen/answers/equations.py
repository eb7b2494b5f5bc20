r"""Equations as answers: only `name = value` is a value: `x = 5`, `\text{Area} = 5` and `f(x) = 2x` are, `x^2
= 5` and `x > 5` are not.
"""

import math
import re
from collections.abc import Callable

from data_gen.answers.expressions import evaluate
from data_gen.answers.notation import WrittenAnswer, read_answer, read_number
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict, unknown

AMBIGUOUS = unknown("ambiguous")
Compare = Callable[[str, str], Verdict | None]

_APPROXIMATELY = re.compile(r"\\(?:approx|simeq)(?![a-z])")
_RELATION = re.compile(r"[<>]|\\(?:[lg]e(?:q|qslant)?|n(?:e|eq)|[lg]t)(?![a-z])|!=|≠")
_MEMBER = re.compile(r"([a-zA-Z])\s*\\in(?![a-z])\s*(.+)", re.DOTALL)
_ARGUMENTS = r"(?:\s*\([\w, ]*\))?"
_NAME = re.compile(
    rf"(?:\\?[a-zA-Z]|\\[A-Za-z]+|[A-Z]{{2,4}}|\|[A-Z]{{2}}\||\\frac\{{d\w?\}}\{{d\w\}}|m\s*\\angle\s*[A-Z]+)"
    rf"(?:\s*_\s*(?:\{{[^{{}}=]*\}}|\w))?(?:\s*\^\s*\{{?-1\}}?)?'*{_ARGUMENTS}"
)
_PROBABILITY = re.compile(r"P\s*\([^()]*\)")
_POINT = re.compile(r"[A-Z]\s*(\([^()]*,[^()]*\))")  # A(1, -2)
_NAMES = re.compile(r"\(\s*[a-zA-Z](?:\s*,\s*[a-zA-Z])+\s*\)")
_FUNCTIONS = re.compile(
    r"\\(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|frac|pm|mp|infty|pi|binom|sum|prod|int|lim|max|min)(?![a-z])|^[ei]$"
)
_PHRASE = re.compile(
    r"(?:\\(?:angle|triangle|widehat|overline)\s*)?[a-zA-Z][a-zA-Z'. \-{}]*(?:_\{?\w+\}?)?[a-zA-Z'. ]*"
)


def simplified(gold: WrittenAnswer, answer: WrittenAnswer) -> tuple[str, str] | None:
    r"""A pair without what stands beside the values: `x =`, `x \in` and `\approx 0.58`; None if there is
    nothing of the kind.
    """
    one, other = _exact_side(gold.plain), _exact_side(answer.plain)
    names, values = zip(*(named_value(written) for written in (one, other)), strict=True)
    has_equation = [len(_sides(written)) > 1 for written in (one, other)]
    if names[0] and names[1] and _folded(names[0]) == _folded(names[1]):
        one, other = values
    elif names[0] and not names[1] and not has_equation[1]:
        one = values[0]
    elif names[1] and not names[0] and not has_equation[0]:
        other = values[1]
    point, other_point = _POINT.fullmatch(one), _POINT.fullmatch(other)
    if (point is None) != (other_point is None):
        one, other = point[1] if point else one, other_point[1] if other_point else other
    pair = _with_unit(one, gold), _with_unit(other, answer)
    return pair if (one, other) != (gold.plain, answer.plain) else None


def compare_equations(gold: WrittenAnswer, answer: WrittenAnswer, compare: Compare) -> Verdict | None:
    """What is left once names are gone: other names, values in several forms, and an equation or inequality
    against a value.
    """
    sides = [_sides(written.plain) for written in (gold, answer)]
    names, values = zip(*(named_value(written.plain) for written in (gold, answer)), strict=True)
    if names[0] and names[1]:
        verdict = compare(*values)
        is_single = all(len(name) == 1 for name in names) and names[0].casefold() != names[1].casefold()
        return (
            INCORRECT
            if verdict == INCORRECT or (is_single and verdict == CORRECT)
            else None
            if is_single
            else AMBIGUOUS
        )
    if _RELATION.search(gold.plain) or _RELATION.search(answer.plain):
        return _compare_relations(gold, answer)
    if (len(sides[0]) > 1) == (len(sides[1]) > 1):
        return None
    forms, value, is_gold = (sides[0], answer, True) if len(sides[0]) > 1 else (sides[1], gold, False)
    if all(_is_value(form) for form in forms):
        return _compare_forms(forms, value, compare, is_gold)
    return INCORRECT if value.number is not None else AMBIGUOUS


def named_value(written: str) -> tuple[str, str]:
    """The name and the value of `name = value` (or a value and a name); "" as the name of anything else."""
    member = _MEMBER.fullmatch(written)
    if member is not None:
        return member[1], member[2].strip()
    sides = _sides(written)
    if len(sides) < 2 or not all(sides) or _RELATION.search(written):
        return "", written
    if _is_name(sides[0]) and (len(sides) == 2 or all(map(_is_value, sides[1:]))):
        return sides[0], " = ".join(sides[1:])
    if len(sides) > 2:
        return "", written
    if _is_name(sides[1]) and _is_value(sides[0]):
        return sides[1], sides[0]
    return "", written


def _sides(written: str) -> list[str]:
    """What stands between the equals signs that are in no bracket: P(X = 2) is one side."""
    sides, depth = [""], 0
    for part in re.split(r"([()\[\]{}]|(?<![<>!\\:])=(?!=))", written):
        depth += (part in tuple("([{")) - (part in tuple(")]}"))
        if part == "=" and depth <= 0:
            sides.append("")
        else:
            sides[-1] += part
    return [side.strip() for side in sides]


def _is_name(side: str) -> bool:
    if all(_NAME.fullmatch(part.strip()) for part in side.split(":")) and not _FUNCTIONS.search(side):
        return True  # also S_{ABC}:S
    if _NAMES.fullmatch(side) or _PROBABILITY.fullmatch(side):
        return True  # (x, y) = (6, 5)
    return (
        _PHRASE.fullmatch(side) is not None
        and not _FUNCTIONS.search(side)
        and re.search(r"[a-zA-Z]{3,}|[A-Z]{2}", side) is not None
    )


def _is_value(side: str) -> bool:
    return read_number(side) is not None or evaluate(side) is not None


def _exact_side(written: str) -> str:
    parts = _APPROXIMATELY.split(written)
    if len(parts) == 2 and _is_name(parts[0].strip()) and parts[1].strip():
        return " = ".join(part.strip() for part in parts)
    return (
        parts[0].strip()
        if len(parts) == 2 and parts[0].strip() and not parts[0].rstrip().endswith("=")
        else written
    )


def _with_unit(written: str, answer: WrittenAnswer) -> str:
    return f"{written}\\text{{ {answer.unit}}}" if answer.unit and answer.number is None else written


def _folded(name: str) -> str:
    return re.sub(r"[\s{}]", "", name) if len(name) < 3 or "\\" in name or "(" in name else name.casefold()


def _compare_forms(forms: list[str], value: WrittenAnswer, compare: Compare, is_gold: bool) -> Verdict:
    """A value in several forms (`0.56 = 56%`): one of a gold answer's is enough, all of an answer's have to
    be right.
    """
    verdicts = [
        _compare_form(form, value.text, compare) if is_gold else _compare_form(value.text, form, compare)
        for form in forms
    ]
    if CORRECT in verdicts and (is_gold or all(verdict == CORRECT for verdict in verdicts)):
        return CORRECT
    return INCORRECT if all(verdict == INCORRECT for verdict in verdicts) else AMBIGUOUS


def _compare_form(gold: str, answer: str, compare: Compare) -> Verdict | None:
    """By rules, and where those leave it to algebra (`40 + 33`) by value."""
    verdict = compare(gold, answer)
    if verdict is None:
        value, other = evaluate(read_answer(gold).plain), evaluate(read_answer(answer).plain)
        if value is not None and other is not None and math.isclose(value, other, rel_tol=1e-12):
            return CORRECT
    return verdict


def _compare_relations(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    r"""`\geq 5` and `x \neq 5` against 5 are other answers; two inequalities, or one and a set, take
    algebra.
    """
    has_relation = [_RELATION.search(written.plain) is not None for written in (gold, answer)]
    is_open = [
        has and _RELATION.match(written.plain) is not None
        for has, written in zip(has_relation, (gold, answer), strict=True)
    ]
    if all(has_relation):
        return AMBIGUOUS if is_open[0] != is_open[1] else None
    value = answer if has_relation[0] else gold
    if value.number is not None:
        return INCORRECT
    return AMBIGUOUS if any(is_open) else None
