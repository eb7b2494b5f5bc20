r"""Which pairs of answers are equal by exact rules about numbers and notation, without algebra.

Policies where mathematics leaves a choice (tests/data_gen/test_grading_cases.py holds a row for each):

- a percentage equals its number and its fraction (`50\%` is 50 and 0.5), since questions ask for either;
- a unit counts only if both answers name one; units of one kind are converted (10 cm is 100 mm and not 10 m), others are ambiguous;
- a decimal with six or more places equals the fraction that it rounds or cuts off (0.333333 is 1/3, 0.333 is not);
- degrees equal their radians (`90^\circ` is `\frac{\pi}{2}`), and a point is the same as a column, a row and a list without brackets;
- a ratio equals its quotient (`3:4` is 3/4), but two ratios with equal quotients may be scores or times: ambiguous;
- `(10,000)` against 10,000 may be a pair or a number, and words that contain the other's words may mean the same: ambiguous.
"""

import re
from fractions import Fraction
from math import gcd

from data_gen.answer_notation import Number, WrittenAnswer, read_answer, read_number
from data_gen.answer_units import convert
from data_gen.answers import answer_key, is_words
from data_gen.expressions import evaluate
from data_gen.records import CORRECT, INCORRECT, Verdict, unknown

AMBIGUOUS = unknown("ambiguous")
MAX_BRACKETS = 32  # of a point of points; bounds the recursion
MAX_APPROXIMATE = 10**300  # larger numbers are no floats
NUMERIC_DIFFERENCE = 1e-5  # relative; closer values may be equal, which takes algebra


def compare_exactly(gold_answer: str, answer: str) -> Verdict | None:
    """The verdict where rules about numbers and notation settle it; None where it takes algebra."""
    gold, other = read_answer(gold_answer), read_answer(answer)
    if gold.number is not None and other.number is not None:
        return _compare_numbers(gold.number, other.number)
    if answer_key(gold_answer) == answer_key(answer):
        return CORRECT
    return _compare_texts(gold, other)


def _compare_texts(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    for rule in (_tuple_or_thousands, _degrees, _words, _prose, _bases, _clocks, _assigned, _parts, _values):
        verdict = rule(gold, answer)
        if verdict is not None:
            return verdict
    return None


# --- numbers


def _compare_numbers(gold: Number, answer: Number) -> Verdict:
    if gold.unit != answer.unit and gold.unit and answer.unit:
        factor = convert(gold.unit, answer.unit)
        if factor is None:
            return AMBIGUOUS
        return _verdict(gold.value * factor == answer.value)
    if gold.value == answer.value:
        return CORRECT
    if gold.is_percent != answer.is_percent:
        percent, fraction = (gold, answer) if gold.is_percent else (answer, gold)
        return _verdict(percent.value / 100 == fraction.value)
    if max(gold.n_decimals, answer.n_decimals) < 6:
        return INCORRECT
    exact, rounded = (gold, answer) if answer.n_decimals else (answer, gold)
    is_close = abs(exact.value - rounded.value) < Fraction(1, 10**rounded.n_decimals)
    return _verdict(is_close and rounded.n_decimals >= 6 and not exact.terminates)


def _verdict(is_equal: bool) -> Verdict:
    return CORRECT if is_equal else INCORRECT


# --- notation: each rule gives a verdict or passes

_TUPLE_OR_THOUSANDS = re.compile(r"\(\s*\d{1,3}(?:,\s*\d{3})+\s*\)")
_DEGREE_SIGN = re.compile(r"°|\\circ|degree")
_PI_MULTIPLE = re.compile(
    r"(?P<sign>-?)\s*(?:\\frac\{(?P<top>\d*)\s*\\pi\}\{(?P<bottom>\d+)\}"
    r"|\\frac\{(?P<over>\d+)\}\{(?P<under>\d+)\}\s*\\pi|(?P<times>\d*)\s*\\pi(?:\s*/\s*(?P<by>\d+))?)"
)
_WITH_BASE = re.compile(r"(\w+)_\{?(\d+)\}?")
_CLOCK_OR_RATIO = re.compile(r"(\d+(?::\d+)+)(?:\s*([apAP])\.?\s?[mM]\.?)?")
_ASSIGNED = re.compile(r"([a-zA-Z])\s*=\s*([^=<>]+)")
_LONG_WORD = re.compile(r"[a-zA-Z]{3,}")
_FORMULA_WORD = re.compile(r"sqrt|frac|infty|emptyset|\b(?:a?(?:sin|cos|tan)h?|log|ln|exp|max|min|mod|pi)\b", re.IGNORECASE)
_NUMBER_WORD = re.compile(
    r"zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|teen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
    r"|half|third|quarter|dozen|hundred|thousand|[mb]illion|plus|minus|times|over|square|cube|root|factorial|choose|percent|none|infinit",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
_SINGLE_LETTER = re.compile(r"\(?([a-zA-Z])\)?")


def _tuple_or_thousands(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    for one, other in ((gold, answer), (answer, gold)):
        if other.number is not None and _TUPLE_OR_THOUSANDS.fullmatch(one.plain):
            as_number = read_number(one.plain.strip("()").replace(" ", ""))
            return AMBIGUOUS if as_number and as_number.value == other.number.value else None
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
            return _verdict(one.number.value == Fraction(180 * above, below) * (-1 if multiple["sign"] else 1))
    return None


def _words(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    letters = _SINGLE_LETTER.fullmatch(gold.plain), _SINGLE_LETTER.fullmatch(answer.plain)
    if letters[0] and letters[1] and letters[0][1].casefold() != letters[1][1].casefold():
        return INCORRECT
    if not (is_words(gold.plain) and is_words(answer.plain)) or "emptyset" in (gold.plain, answer.plain):
        return None
    texts = [written.plain.casefold() for written in (gold, answer)]
    if sorted(texts[0].replace(" ", "")) == sorted(texts[1].replace(" ", "")):
        return None  # may be products: xyz and zxy
    words = [set(text.split()) for text in texts]
    return AMBIGUOUS if words[0] <= words[1] or words[1] <= words[0] else INCORRECT


def _prose(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """A number against a sentence: another answer, unless the sentence names the number or spells one out."""
    number, prose = (gold.number, answer.plain) if gold.number else (answer.number, gold.plain)
    if number is None or "\\" in prose or not _LONG_WORD.search(prose):
        return None
    if _FORMULA_WORD.search(prose):
        return None
    named = [read_number(one) for one in _DIGITS.findall(prose)]
    is_named = any(one is not None and one.value == number.value for one in named)
    return AMBIGUOUS if is_named or _NUMBER_WORD.search(prose) else INCORRECT


def _bases(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    bases = _WITH_BASE.fullmatch(gold.plain), _WITH_BASE.fullmatch(answer.plain)
    if not any(bases) or not (gold.plain[:1].isdigit() and answer.plain[:1].isdigit()):
        return None
    # the question names the base: 2516 is 2516_8, but 25 is not 11001_2
    digits = [match[1] if match else written.plain for match, written in zip(bases, (gold, answer), strict=True)]
    return _verdict(digits[0] == digits[1] and not all(bases))


def _clocks(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    clocks = _CLOCK_OR_RATIO.fullmatch(gold.plain), _CLOCK_OR_RATIO.fullmatch(answer.plain)
    if clocks[0] and clocks[1]:
        halves = [(clock[2] or "").casefold() for clock in clocks if clock]
        if clocks[0][1] == clocks[1][1]:
            return _verdict(halves[0] == halves[1] or not all(halves))
        is_same_ratio = _lowest_terms(clocks[0][1]) == _lowest_terms(clocks[1][1])
        return AMBIGUOUS if is_same_ratio and not any(halves) else INCORRECT
    for clock, other in ((clocks[0], answer), (clocks[1], gold)):
        if clock and clock[2] is None and other.number is not None and not other.number.unit:
            value = other.number.value
            return _verdict(_lowest_terms(clock[1]) == (value.numerator, value.denominator))
    return None


def _lowest_terms(ratio: str) -> tuple[int, ...]:
    terms = [int(term) for term in ratio.split(":")]
    divisor = gcd(*terms) or 1
    return tuple(term // divisor for term in terms)


def _assigned(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """`x=5` against `5`: the name counts only if both answers give one."""
    assigned = _ASSIGNED.fullmatch(gold.plain), _ASSIGNED.fullmatch(answer.plain)
    if not any(assigned) or (assigned[0] and assigned[1] and assigned[0][1] != assigned[1][1]):
        return None
    values = [match[2] if match else written.plain for match, written in zip(assigned, (gold, answer), strict=True)]
    return compare_exactly(*values) if read_number(values[0]) and read_number(values[1]) else None


# --- points, intervals, sets and lists

_BRACKETED = re.compile(r"([(\[]|\\\{)(.*)([)\]]|\\\})", re.DOTALL)
_ONE_LINE_MATRIX = re.compile(r"\\begin\{([pb]?matrix)\}(.*)\\end\{\1\}", re.DOTALL)
_CELLS = re.compile(r"&|\\\\")


def _parts(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """Component by component, where both are points, intervals, lists or matrices of one row or column."""
    if max(gold.plain.count("("), answer.plain.count("(")) > MAX_BRACKETS:
        return None
    (opened, closed, golds), (other_opened, other_closed, others) = _split(gold.plain), _split(answer.plain)
    if len(golds) < 2 and len(others) < 2:
        return None
    brackets, other_brackets = opened + closed, other_opened + other_closed
    if len(golds) > 1 and len(others) > 1 and brackets and other_brackets and brackets != other_brackets:
        return INCORRECT  # an interval, its closure, a point and a set differ
    numbers, other_numbers = [[read_number(part) for part in parts] for parts in (golds, others)]
    if "()" not in (brackets, other_brackets) and "[" not in opened + other_opened and "]" not in closed + other_closed:
        if {answer_key(part) for part in golds} == {answer_key(part) for part in others}:
            return CORRECT
        return _compare_sets(numbers, other_numbers)
    if len(golds) != len(others):
        return INCORRECT if all(numbers) and all(other_numbers) else None
    verdicts = [compare_exactly(part, other) for part, other in zip(golds, others, strict=True)]
    if all(verdict == CORRECT for verdict in verdicts):
        return CORRECT
    return INCORRECT if INCORRECT in verdicts and brackets == other_brackets else None


def _compare_sets(golds: list[Number | None], others: list[Number | None]) -> Verdict | None:
    sets = [{(part.value, part.is_percent, part.unit) for part in parts if part is not None} for parts in (golds, others)]
    return _verdict(sets[0] == sets[1]) if all(golds) and all(others) and not any(unit for _, _, unit in sets[0] | sets[1]) else None


def _split(written: str) -> tuple[str, str, list[str]]:
    """The brackets around an answer ("" for none) and its parts: split at the commas that stand in no other bracket."""
    matrix = _ONE_LINE_MATRIX.fullmatch(written)
    if matrix and not ("&" in matrix[2] and "\\\\" in matrix[2]):
        return "(", ")", [cell.strip() for cell in _CELLS.split(matrix[2])]
    bracketed = _BRACKETED.fullmatch(written)
    if bracketed:
        parts = _split_at_commas(bracketed[2])
        if parts is not None:
            return bracketed[1], bracketed[3], parts
    return "", "", _split_at_commas(written) or [written]


def _split_at_commas(text: str) -> list[str] | None:
    """None where the brackets of `text` do not close in order: then those around it are no pair, as in `(1,2),(3,4)`."""
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


def _values(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """Two expressions of numbers that differ in value are different; whether close ones are equal takes algebra."""
    value, other = _approximate(gold), _approximate(answer)
    if value is None or other is None or abs(value - other) <= NUMERIC_DIFFERENCE * max(abs(value), abs(other)):
        return None
    return INCORRECT


def _approximate(written: WrittenAnswer) -> float | None:
    number = written.number
    if number is None:
        return evaluate(written.plain)
    if number.unit or number.is_percent or abs(number.value) > MAX_APPROXIMATE:
        return None
    return float(number.value)
