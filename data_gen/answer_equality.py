r"""Which pairs of answers are equal by exact rules about numbers and notation, without algebra.

Policies where mathematics leaves a choice (tests/data_gen/test_grading_cases.py holds a row for each):

- a percentage equals its number and its fraction (`50\%` is 50 and 0.5), since questions ask for either;
- a unit counts only if both answers name one; units of one kind are converted (10 cm is 100 mm and not 10 m), others are ambiguous;
- a decimal with six or more places equals the fraction that it rounds or cuts off (0.333333 is 1/3, 0.333 is not); where the gold answer
  is a decimal that the answer rounds to, it may be a rounding: unknown (rounded_gold);
- degrees equal their radians (`90^\circ` is `\frac{\pi}{2}`);
- a ratio equals its quotient (`3:4` is 3/4), but two ratios with equal quotients may be scores or times: ambiguous;
- `(10,000)` against 10,000 may be a pair or a number, and words that contain the other's words may mean the same: ambiguous;
- a choice letter with its text is the letter; the text alone is unknown (choice_text) unless the question lists its options.

Lists are the subject of answer_lists.py, equations of answer_equations.py, times of answer_clocks.py, choices of answer_choices.py.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from math import gcd

from data_gen import answer_choices, answer_equations
from data_gen.answer_clocks import compare_clocks, compare_dates
from data_gen.answer_lists import compare_parts
from data_gen.answer_notation import Number, WrittenAnswer, read_answer, read_number
from data_gen.answer_units import convert
from data_gen.answers import answer_key, is_words
from data_gen.expressions import evaluate
from data_gen.records import CORRECT, INCORRECT, Verdict, unknown

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
    """The verdict by rules, or the two expressions that algebra has to compare: without layout, names and units that are known to agree."""
    for _ in range(MAX_SIMPLIFICATIONS):
        gold, other = read_answer(gold_answer), read_answer(answer)
        if gold.number is not None and other.number is not None:
            return _compare_numbers(gold.number, other.number)
        if answer_key(gold_answer) == answer_key(answer):
            return CORRECT if _units_agree(gold, other) else AMBIGUOUS
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


# --- numbers and units


def _compare_numbers(gold: Number, answer: Number) -> Verdict:
    if gold.unit != answer.unit and gold.unit and answer.unit:
        converted = convert(gold.value, gold.unit, answer.unit)
        if converted is None:
            return AMBIGUOUS
        return _verdict(converted == answer.value) if converted != gold.value else _compare_values(gold, answer)
    if gold.is_compound != answer.is_compound and not (gold.unit and answer.unit):
        return AMBIGUOUS  # 90 or 1.5 for 1 hour 30 minutes
    return _compare_values(gold, answer)


def _compare_values(gold: Number, answer: Number) -> Verdict:
    if gold.value == answer.value:
        return CORRECT
    if gold.is_percent != answer.is_percent:
        percent, fraction = (gold, answer) if gold.is_percent else (answer, gold)
        return _verdict(percent.value / 100 == fraction.value)
    if max(gold.n_decimals, answer.n_decimals) < 6:
        return unknown("rounded_gold") if _is_rounding(gold, answer) else INCORRECT
    exact, rounded = (gold, answer) if answer.n_decimals else (answer, gold)
    is_close = abs(exact.value - rounded.value) < Fraction(1, 10**rounded.n_decimals)
    return _verdict(is_close and rounded.n_decimals >= 6 and not exact.terminates)


def _is_rounding(gold: Number, answer: Number) -> bool:
    """Whether the answer is the exact value that a gold decimal may round: one with more places, or with endless ones."""
    significant = abs(gold.value) * 10**gold.n_decimals
    if not gold.n_decimals or significant < 10 or abs(gold.value - answer.value) > Fraction(1, 2 * 10**gold.n_decimals):
        return False
    return not answer.terminates or (gold.n_decimals > 1 and answer.n_decimals > gold.n_decimals)


def _units_agree(gold: WrittenAnswer, answer: WrittenAnswer) -> bool:
    return not (gold.unit and answer.unit) or convert(Fraction(1), gold.unit, answer.unit) == 1


def _verdict(is_equal: bool) -> Verdict:
    return CORRECT if is_equal else INCORRECT


# --- notation: each rule gives a verdict or passes

_TUPLE_OR_THOUSANDS = re.compile(r"\(\s*\d{1,3}(?:,\s*\d{3})+\s*\)")
_SPACED_THOUSANDS = re.compile(r"(-?)\d{1,3}(?:,? \d{3})+")
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
_SUFFIX = re.compile(r"(.*\d)\s?([kKM])")
_DEGREE_SIGN = re.compile(r"°|\\circ|degree")
_PI_MULTIPLE = re.compile(
    r"(?P<sign>-?)\s*(?:\\frac\{(?P<top>\d*)\s*\\pi\}\{(?P<bottom>\d+)\}"
    r"|\\frac\{(?P<over>\d+)\}\{(?P<under>\d+)\}\s*\\pi|(?P<times>\d*)\s*\\pi(?:\s*/\s*(?P<by>\d+))?)"
)
_WITH_BASE = re.compile(r"\(?([\w.]+)\)?(?:_\{?\s*(\w+)\s*\}?|,?\s(?:in )?base (\w+))")
_RATIO = re.compile(r"(\d+(?:\s?:\s?\d+)+)")
_BASES = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}
_LONG_WORD = re.compile(r"[a-zA-Z]{3,}")
_FORMULA_WORD = re.compile(r"sqrt|frac|infty|emptyset|\b(?:a?(?:sin|cos|tan)h?|log|ln|exp|max|min|mod|pi)\b", re.IGNORECASE)
_NUMBER_WORD = re.compile(
    r"zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|teen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
    r"|half|third|quarter|dozen|hundred|thousand|[mb]illion|plus|minus|times|over|square|cube|root|factorial|choose|percent|none|infinit"
    r"|out of|\bin \d",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
_SINGLE_LETTER = re.compile(r"\(?([a-zA-Z])\)?")
_YES = {"yes", "true"}
_YES_OR_NO = re.compile(r"(yes|true|no|false)\b(.*)", re.IGNORECASE | re.DOTALL)
_FUNCTION_WORD = re.compile(r"(?<=[ \d%])(?:of|to|if|is|in|by)(?= )")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{[a-zA-Z]*\}(?:\{[clr|]*\})?")
_POINTS = re.compile(r"[A-Z]{3,6}")  # of a triangle, an angle
_PROSE_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]*[aeiouAEIOU][a-zA-Z]*(?![a-zA-Z])")


def _tuple_or_thousands(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    for one, other in ((gold, answer), (answer, gold)):
        if other.number is not None and _TUPLE_OR_THOUSANDS.fullmatch(one.plain):
            as_number = read_number(one.plain.strip("()").replace(" ", ""))
            return AMBIGUOUS if as_number and as_number.value == other.number.value else None
    return None


def _other_thousands(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """`5 000 000` and `5, 000, 000` for a number; `111, 222` may be a list, `3,5` a decimal, and `5k` a product."""
    for one, other in ((gold, answer), (answer, gold)):
        if other.number is None:
            continue
        value = other.number.value
        if _SPACED_THOUSANDS.fullmatch(one.plain) and int(re.sub(r"[, ]", "", one.plain)) == value:
            return CORRECT if "," not in one.plain or re.search(r" 0", one.plain) else AMBIGUOUS
        if _DECIMAL_COMMA.fullmatch(one.plain) and Fraction(one.plain.replace(",", ".")) == value:
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
            return _verdict(one.number.value == Fraction(180 * above, below) * (-1 if multiple["sign"] else 1))
    return None


def _units(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """Amounts that are no numbers are not converted: two units of measure that differ leave them open."""
    return None if _units_agree(gold, answer) else AMBIGUOUS


def _choices(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """A letter alone against a number or words, which may be the text of that option."""
    for one, other in ((gold, answer), (answer, gold)):
        is_letter = answer_choices.is_choice(one.plain) and answer_choices.read_choice(other.plain) is None
        if is_letter and (other.number is not None or (is_words(other.plain) and len(other.plain) > 1)):
            return unknown("choice_text")
    return None


def _yes_or_no(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    one, other = _YES_OR_NO.fullmatch(gold.plain), _YES_OR_NO.fullmatch(answer.plain)
    if one is None or other is None:
        return None
    return AMBIGUOUS if (one[1].casefold() in _YES) == (other[1].casefold() in _YES) else INCORRECT


def _words(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    letters = _SINGLE_LETTER.fullmatch(gold.plain), _SINGLE_LETTER.fullmatch(answer.plain)
    if letters[0] and letters[1] and letters[0][1].casefold() != letters[1][1].casefold():
        return INCORRECT
    if not (is_words(gold.plain) and is_words(answer.plain)) or "emptyset" in (gold.plain, answer.plain):
        return None
    texts = [written.plain.casefold() for written in (gold, answer)]
    if sorted(texts[0].replace(" ", "")) == sorted(texts[1].replace(" ", "")) and _may_be_products(gold.plain, answer.plain):
        return AMBIGUOUS  # xyz and zxy
    words = [set(text.split()) for text in texts]
    return AMBIGUOUS if words[0] <= words[1] or words[1] <= words[0] else INCORRECT


def _may_be_products(*words: str) -> bool:
    return all(word.islower() and " " not in word and not re.search("[eiou]", word) for word in words)


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
    matches = _WITH_BASE.fullmatch(gold.plain), _WITH_BASE.fullmatch(answer.plain)
    if not any(matches) or not (gold.plain.lstrip("(")[:1].isdigit() and answer.plain.lstrip("(")[:1].isdigit()):
        return None
    # the question names the base: 2516 is 2516_8, but 25 is not 11001_2
    digits = [match[1] if match else written.plain for match, written in zip(matches, (gold, answer), strict=True)]
    bases = {_BASES.get(base, base) for base in (match[2] or match[3] for match in matches if match)}
    return _verdict(digits[0] == digits[1] and len(bases) == 1)


def _ratios(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    ratios = _RATIO.fullmatch(gold.plain), _RATIO.fullmatch(answer.plain)
    if ratios[0] and ratios[1]:
        return AMBIGUOUS if _lowest_terms(ratios[0][1]) == _lowest_terms(ratios[1][1]) else INCORRECT
    for ratio, other in ((ratios[0], answer), (ratios[1], gold)):
        if ratio and other.number is not None and not other.number.unit:
            value = other.number.value
            return _verdict(_lowest_terms(ratio[1]) == (value.numerator, value.denominator))
    return None


def _lowest_terms(ratio: str) -> tuple[int, ...]:
    terms = [int(term) for term in ratio.split(":")]
    divisor = gcd(*terms) or 1
    return tuple(term // divisor for term in terms)


def _equations(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    return answer_equations.compare_equations(gold, answer, compare_exactly)


def _parts(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    return compare_parts(gold, answer, compare_exactly)


def _mentions(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """Algebra would take the words of a sentence for products of letters."""
    for written in (gold, answer):
        text = _ENVIRONMENT.sub("", written.plain)
        words = [
            word for word in _PROSE_WORD.findall(text) if len(word) > 2 and not _FORMULA_WORD.search(word) and not _POINTS.fullmatch(word)
        ]
        if (words and not _may_be_products(*words)) or _FUNCTION_WORD.search(text):
            return AMBIGUOUS
    return None


def _values(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """Two expressions of numbers that differ in value are different; whether close ones are equal takes algebra."""
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


_BEFORE_SIMPLIFICATION = (_tuple_or_thousands, _other_thousands, _degrees, compare_clocks, compare_dates, _yes_or_no)
_RULES = (_units, _choices, _words, _prose, _bases, _ratios, _parts, _equations, _mentions, _values)
