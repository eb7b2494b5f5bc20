r"""Which pairs of answers are equal by exact rules about numbers and notation, without algebra.

Policies where mathematics leaves a choice (tests/data_gen/test_grading_cases.py holds a row for each):

- a percentage equals its number and its fraction (`50\%` is 50 and 0.5), since questions ask for either;
- a unit counts only if both answers name one; units of one kind are converted (10 cm is 100 mm and not 10 m),
  others are ambiguous;
- a decimal with six or more places equals the fraction that it rounds or cuts off (0.333333 is 1/3, 0.333 is
  not); where the gold answer is a decimal that the answer rounds to, it may be a rounding: unknown
  (rounded_gold);
- degrees equal their radians (`90^\circ` is `\frac{\pi}{2}`);
- a ratio equals its quotient (`3:4` is 3/4), but two ratios with equal quotients may be scores or times:
  ambiguous;
- `(10,000)` against 10,000 may be a pair or a number, and words that contain the other's words may mean the
  same: ambiguous;
- a choice letter with its text is the letter; the text alone is unknown (choice_text) unless the question
  lists its options.

Words, letters of choices and sentences are the subject of words.py, lists of lists.py, equations of
equations.py, times of clocks.py.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from math import gcd

import data_gen.answers.choices as answer_choices
import data_gen.answers.equations as answer_equations
from data_gen.answers.clocks import compare_clocks, compare_dates
from data_gen.answers.expressions import evaluate
from data_gen.answers.lists import compare_parts
from data_gen.answers.notation import WrittenAnswer, read_answer, read_number
from data_gen.answers.numbers import as_verdict, compare_numbers, units_agree
from data_gen.answers.vote_key import answer_key
from data_gen.answers.words import (
    compare_choices,
    compare_with_prose,
    compare_words,
    compare_yes_or_no,
    mentions_words,
)
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict, unknown

AMBIGUOUS = unknown("ambiguous")
MAX_SIMPLIFICATIONS = 8
MAX_APPROXIMATE = 10**300  # larger numbers are no floats
NUMERIC_DIFFERENCE = 1e-5  # relative; closer values may be equal, which takes algebra
Pair = tuple[str, str]
Rule = Callable[[WrittenAnswer, WrittenAnswer], Verdict | None]


def compare_exactly(gold_answer: str, answer: str) -> Verdict | None:
    """The verdict where rules about numbers and notation settle it; None where it takes algebra."""
    settled = settle(gold_answer, answer)
    return settled if isinstance(settled, Verdict) else None


def settle(gold_answer: str, answer: str) -> Verdict | Pair:
    """The verdict by rules, or the two expressions that algebra has to compare: without layout, names and
    units that are known to agree.
    """
    for _ in range(MAX_SIMPLIFICATIONS):
        gold, other = read_answer(gold_answer), read_answer(answer)
        if gold.number is not None and other.number is not None:
            return compare_numbers(gold.number, other.number)
        if answer_key(gold_answer) == answer_key(answer):
            return CORRECT if units_agree(gold, other) else AMBIGUOUS
        verdict = _first(_BEFORE_SIMPLIFICATION, gold, other)
        if verdict is not None:
            return verdict
        pair = answer_choices.simplified(gold, other) or answer_equations.simplified(gold, other)
        if pair is None or pair == (gold_answer, answer):
            return _first(_RULES, gold, other) or (gold.plain, other.plain)
        gold_answer, answer = pair
    return AMBIGUOUS


def _first(rules: tuple[Rule, ...], gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    for rule in rules:
        verdict = rule(gold, answer)
        if verdict is not None:
            return verdict
    return None


# --- notation: each rule gives a verdict or passes

_TUPLE_OR_THOUSANDS = re.compile(r"\(\s*\d{1,3}(?:,\s*\d{3})+\s*\)")
_SPACED_THOUSANDS = re.compile(r"(-?)\d{1,3}(?:,? \d{3})+")
_DECIMAL_COMMA = re.compile(r"(-?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+)(?:\s*\\?[€$£]|)")
_OTHER_GROUPS = re.compile(r"\d{1,3}(?:\.\d{3}){2,}|\d{1,2}(?:,\d{2})+,\d{3}")  # 1.234.567, 12,34,567
_SUFFIX = re.compile(r"(.*\d)\s?([kKM])")
_DEGREE_SIGN = re.compile(r"°|\\circ|degree")
_PI_MULTIPLE = re.compile(
    r"(?P<sign>-?)\s*(?:\\frac\{(?P<top>\d*)\s*\\pi\}\{(?P<bottom>\d+)\}"
    r"|\\frac\{(?P<over>\d+)\}\{(?P<under>\d+)\}\s*\\pi|(?P<times>\d*)\s*\\pi(?:\s*/\s*(?P<by>\d+))?)"
)
_WITH_BASE = re.compile(r"(-?)\(?(-?[\w.,]+?)\)?(?:_\{?\s*\(?(\w+)\)?\s*\}?|,?\s\(?(?:in )?base (\w+)\)?)")
_RATIO = re.compile(r"(\d+(?:\s?:\s?\d+)+)")
_BASES = {
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}
_NOT_WRITTEN_OUT = re.compile(
    r"\\p?mod(?![a-z])|\\equiv|^[CAP]\s*_\{?\d+\}?\^\{?\d+\}?$|\(\s*[^()]*\\pm|\[\[|'|\\prime|\^\{?T\}?$"
    r"|\\lim|!!|[a-zA-Z]\^\{?-1\}?\s*\(|\\c[au]p.*=|^0[bx]|\b(?:lcm|gcd|arctan|arcsin|arccos)\b|\\phi\s*\(|\\arc"
)
_UNIT_VECTORS = re.compile(r"\\(?:mathbf|vec|hat|bm)\s*\{\s*\\?[a-z](?:math)?\s*\}")


def _tuple_or_thousands(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    for one, other in ((gold, answer), (answer, gold)):
        if other.number is not None and _TUPLE_OR_THOUSANDS.fullmatch(one.plain):
            as_number = read_number(one.plain.strip("()").replace(" ", ""))
            return AMBIGUOUS if as_number and as_number.value == other.number.value else None
    return None


def _other_thousands(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """`5 000 000` and `5, 000, 000` for a number; `111, 222` may be a list, `3,5` a decimal, and `5k` a
    product.
    """
    for one, other in ((gold, answer), (answer, gold)):
        if other.number is None:
            continue
        value = other.number.value
        if _SPACED_THOUSANDS.fullmatch(one.plain) and int(re.sub(r"[, ]", "", one.plain)) == value:
            return CORRECT if "," not in one.plain or re.search(r" 0", one.plain) else AMBIGUOUS
        comma = _DECIMAL_COMMA.fullmatch(one.plain)
        if comma and Fraction(comma[1].replace(".", "").replace(",", ".")) == value:
            return AMBIGUOUS
        if _OTHER_GROUPS.fullmatch(one.plain) and int(re.sub(r"[.,]", "", one.plain)) == value:
            return AMBIGUOUS
        suffix = _SUFFIX.fullmatch(one.plain)
        amount = read_number(suffix[1]) if suffix else None
        if suffix and amount and amount.value * (10**6 if suffix[2] == "M" else 1000) == value:
            return AMBIGUOUS
    return None


def _degrees(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    for one, other in ((gold, answer), (answer, gold)):
        if "\\pi" in other.plain and _DEGREE_SIGN.search(one.text) and not _DEGREE_SIGN.search(other.text):
            multiple = _PI_MULTIPLE.fullmatch(other.plain)
            if one.number is None or multiple is None:
                return AMBIGUOUS
            part = {name: int(text) for name, text in multiple.groupdict().items() if text and name != "sign"}
            below = part.get("bottom") or part.get("under") or part.get("by") or 1
            above = part.get("top") or part.get("over") or part.get("times") or 1
            return as_verdict(
                one.number.value == Fraction(180 * above, below) * (-1 if multiple["sign"] else 1)
            )
    return None


def _units(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """Amounts that are no numbers are not converted: two units of measure that differ leave them open."""
    return None if units_agree(gold, answer) else AMBIGUOUS


def _bases(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    matches = _WITH_BASE.fullmatch(gold.plain), _WITH_BASE.fullmatch(answer.plain)
    first_digits = "0123456789" + (
        "ABCDEF" if any(match and (match[3] or match[4]) in ("16", "sixteen") for match in matches) else ""
    )
    if not any(matches) or not all(
        written.plain.lstrip("(-")[:1] in first_digits for written in (gold, answer)
    ):
        return None
    # the question names the base: 2516 is 2516_8, but 25 is not 11001_2
    digits = [
        match[1] + match[2] if match else written.plain
        for match, written in zip(matches, (gold, answer), strict=True)
    ]
    bases = {_BASES.get(base, base) for base in (match[3] or match[4] for match in matches if match)}
    same_digits = digits[0].replace(",", "").casefold() == digits[1].replace(",", "").casefold()
    return as_verdict(same_digits and len(bases) == 1)


def _ratios(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    ratios = _RATIO.fullmatch(gold.plain), _RATIO.fullmatch(answer.plain)
    if ratios[0] and ratios[1]:
        return AMBIGUOUS if _lowest_terms(ratios[0][1]) == _lowest_terms(ratios[1][1]) else INCORRECT
    for ratio, other in ((ratios[0], answer), (ratios[1], gold)):
        if ratio and other.number is not None and not other.number.unit:
            value = other.number.value
            return as_verdict(_lowest_terms(ratio[1]) == (value.numerator, value.denominator))
    return None


def _lowest_terms(ratio: str) -> tuple[int, ...]:
    terms = [int(term) for term in ratio.split(":")]
    divisor = gcd(*terms) or 1
    return tuple(term // divisor for term in terms)


def _equations(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    return answer_equations.compare_equations(gold, answer, compare_exactly)


def _parts(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    return compare_parts(gold, answer, compare_exactly)


def _not_written_out(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """Congruences, C_8^2, lists behind a sign of plus or minus, primes of derivatives: algebra would read
    something else.
    """
    is_union = ["\\cup" in written.plain for written in (gold, answer)]
    if is_union[0] != is_union[1] and any(
        re.search(r"[)\]]\s*(?:,|or)\s*[(\[]", written.plain) for written in (gold, answer)
    ):
        return AMBIGUOUS
    if any(_UNIT_VECTORS.search(written.text) for written in (gold, answer)):
        return AMBIGUOUS
    is_figure = [written.plain.startswith(("\\triangle", "\\angle")) for written in (gold, answer)]
    is_open = is_figure[0] != is_figure[1] or any(
        _NOT_WRITTEN_OUT.search(written.plain) for written in (gold, answer)
    )
    return AMBIGUOUS if is_open else None


def _values(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """Two expressions of numbers that differ in value are different; whether close ones are equal takes
    algebra.
    """
    value, other = _approximate(gold), _approximate(answer)
    if value is None or other is None:
        return None
    if gold.number is not None and gold.number.n_decimals and answer.number is None:
        is_rounding = abs(value - other) <= 0.5 * 10.0**-gold.number.n_decimals
        if is_rounding and gold.number.n_decimals < 6:
            return unknown("rounded_gold")
    return None if abs(value - other) <= NUMERIC_DIFFERENCE * max(abs(value), abs(other)) else INCORRECT


def _approximate(written: WrittenAnswer) -> float | None:
    number = written.number
    if number is None:
        return evaluate(written.plain)
    if number.is_percent or abs(number.value) > MAX_APPROXIMATE:
        return None
    return float(number.value)


_BEFORE_SIMPLIFICATION = (
    _tuple_or_thousands,
    _other_thousands,
    _degrees,
    compare_clocks,
    compare_dates,
    compare_yes_or_no,
)
_RULES = (
    _units,
    compare_choices,
    compare_words,
    compare_with_prose,
    _bases,
    _ratios,
    _parts,
    _equations,
    mentions_words,
    _not_written_out,
    _values,
)
