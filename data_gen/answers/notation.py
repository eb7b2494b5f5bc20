r"""The exact number or the unit that a whole answer has.

`12`, `$12.00`, `\frac{24}{2}`, `12 dollars`, `1.2\times10^1`, `0.\overline{3}`, `a dozen` and `2 hours 30
minutes` are numbers; `2\sqrt3` and `(1,2)` are not: they stay text. A unit is kept apart from both:
`12\sqrt{13}\text{ feet}` is `12\sqrt{13}` with the unit `feet`.
"""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from data_gen.answers.layout import TEXT, plain, without_delimiters
from data_gen.answers.number_words import MAGNITUDES, PARTS, spelled_number
from data_gen.answers.units import CURRENCY_SIGNS, convert, is_known, read_unit

MAX_ANSWER_LENGTH = 1000  # characters; longer ones are loops of a policy, not answers

# --- numbers

_INTEGER = r"(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)"
_DECIMAL = rf"(?:{_INTEGER}(?:\.\d*)?|\.\d+)"
_SHORT_DECIMAL = re.compile(r"(-?)(\d{1,15}|[1-9]\d{0,2}(?:,\d{3}){1,4})(?:\.(\d{1,15}))?")
_CURRENCY = r"(?:US\$|[$£€¥₹₩₽]|Rs\.?(?=\s?\d))"
_VALUE = re.compile(
    rf"""(?P<sign>[-+]?)\s*(?P<currency>{_CURRENCY})?\s*(?P<minus>-?)
    (?:(?P<whole>\d+)?\s*\\frac\{{\s*(?P<top>-?{_DECIMAL})\s*\}}\s*\{{\s*(?P<bottom>-?{_DECIMAL})\s*\}}
      |(?P<mixed>\d+)\s+(?:and\s+)?(?P<mixed_top>\d+)\s*/\s*(?P<mixed_bottom>\d+)
      |(?P<numerator>{_DECIMAL})\s*/\s*(?P<denominator>-?{_DECIMAL})
      |(?P<start>\d*\.\d*)(?:\\overline\{{(?P<cycle>\d+)\}}|\((?P<bracketed>\d+)\))
      |(?=[\d.]*…)(?P<cut>\d*\.\d*?(?:(?P<unit>\d)(?P=unit){{2,}}|(?P<pair>\d{{2,6}}?)(?P=pair)+))…
      |(?P<decimal>{_DECIMAL})(?:\s*(?:\\times|\\cdot|[x×*])\s*10\s*\^\s*\{{?\s*(?P<power>[-+]?\d{{1,3}})\s*\}}?|[eE](?P<exponent>[-+]?\d{{1,3}})(?!\d))?)
    """,
    re.VERBOSE,
)
_ONE_UNIT = re.compile(r"an? ([a-z]{3,})")  # an hour
_ORDINAL = re.compile(r"\^?\s*\{?\s*(?:st|nd|rd|th)\b\s*\}?")
_FACTOR = re.compile(
    rf"\s*({'|'.join(MAGNITUDES)}|{'|'.join(PARTS)})(?![a-zA-Z克米瓦焦卡帕])"
)  # 千克 is a kilogram
_PERCENT = re.compile(r"\s*(?:%|percent(?:age)?(?: points?)?\b|per cent\b|pct\b)")
_CURRENCY_WORD = re.compile(r"[a-z]*dollars?|USD|euros?|EUR|GBP|cents?", re.IGNORECASE)
_COMPOUND_PART = re.compile(rf"({_DECIMAL})\s*([a-zA-Z]+\.?)\s*(?:,|and\b)?\s*")


@dataclass(frozen=True, slots=True)
class Number:
    """An exact value as it was written: `n_decimals` places after the point, a percent sign, a unit ("" for
    none).
    """

    value: Fraction
    n_decimals: int = 0
    is_percent: bool = False
    unit: str = ""
    # `2 hours 30 minutes`, in the last of its units, or `5 dozen`: without a unit it may be asked in another
    # one
    is_compound: bool = False

    @property
    def terminates(self) -> bool:
        """Whether the value has a finite decimal expansion."""
        rest = self.value.denominator
        for prime in (2, 5):
            while rest % prime == 0:
                rest //= prime
        return rest == 1


class WrittenAnswer(NamedTuple):
    """An answer, what it is without layout and unit, its unit ("" for none), and its number where the whole
    of it is one.
    """

    text: str
    plain: str
    unit: str
    number: Number | None


# A gold answer meets many answers, a vote the same few; 1,000 characters at most each
@lru_cache(maxsize=8192)
def read_answer(answer: str) -> WrittenAnswer:
    """`answer` read once; one longer than MAX_ANSWER_LENGTH stays as it is and has no number."""
    if len(answer) > MAX_ANSWER_LENGTH:
        return WrittenAnswer(answer, answer, "", None)
    written = plain(answer)
    number = _short_decimal(written) or _number(written)
    if number is not None:
        return WrittenAnswer(answer, written, number.unit, number)
    amount, unit = _amount_and_unit(without_delimiters(answer), written)
    number = _short_decimal(amount) or _number(amount) if unit else None
    return WrittenAnswer(
        answer, amount, unit, replace(number, unit=unit) if number and not number.unit else number
    )


def read_number(answer: str) -> Number | None:
    """The number that the whole answer is: integer, decimal, fraction, mixed, scientific or spelled out, a
    unit allowed; else None.
    """
    return read_answer(answer).number


def _short_decimal(written: str) -> Number | None:
    """What nearly all numbers are, many times faster than by the whole grammar."""
    match = _SHORT_DECIMAL.fullmatch(written)
    if match is None:
        return None
    sign, whole, decimals = match.groups()
    if "," in whole:
        whole = whole.replace(",", "")
    value = (
        Fraction(int(sign + whole + decimals), 10 ** len(decimals))
        if decimals
        else Fraction(int(sign + whole))
    )
    return Number(value, len(decimals or ""))


def _number(written: str) -> Number | None:
    spelled = spelled_number(written)
    if spelled is not None:
        return _with_unit(spelled[0], 0, "", spelled[1])
    one = _ONE_UNIT.fullmatch(written)
    if one is not None and is_known(one[1]):
        return Number(Fraction(1), unit=one[1])
    match = _VALUE.match(written)
    if match is None:
        return None
    part = {name: text.replace(",", "") for name, text in match.groupdict().items() if text is not None}
    value = _value(part)
    if value is None:
        return None
    is_negative = (part["sign"] == "-") != (part["minus"] == "-")
    n_decimals = len(part.get("decimal", "").partition(".")[2])
    number = _with_unit(
        -value if is_negative else value,
        n_decimals,
        CURRENCY_SIGNS.get(part.get("currency", ""), ""),
        written[match.end() :],
    )
    return number or _compound(written)


def _value(part: dict[str, str]) -> Fraction | None:
    cycle = part.get("cycle") or part.get("bracketed") or part.get("unit") or part.get("pair")
    if cycle is not None:
        start = part.get("start") or part["cut"]
        return Fraction("0" + start if start != "." else "0") + Fraction(
            int(cycle), (10 ** len(cycle) - 1) * 10 ** len(start.partition(".")[2])
        )
    top = part.get("top") or part.get("mixed_top") or part.get("numerator") or part["decimal"]
    bottom = Fraction(part.get("bottom") or part.get("mixed_bottom") or part.get("denominator") or 1)
    if bottom == 0:
        return None
    value = Fraction(part.get("whole") or part.get("mixed") or 0) + Fraction(top) / bottom
    return value * Fraction(10) ** int(part.get("power") or part.get("exponent") or 0)


def _with_unit(value: Fraction, n_decimals: int, currency: str, rest: str) -> Number | None:
    """The number of a value and what is written after it: an ordinal ending, `million`, a percent sign, a
    unit; None for anything else.
    """
    ordinal = _ORDINAL.match(rest)
    if ordinal is not None and value.denominator == 1:
        rest = rest[ordinal.end() :]
    is_of_dozens = False
    while factor := _FACTOR.match(rest):
        if factor[1] in PARTS and factor[1].endswith("s") == (value == 1):
            break  # 12 third graders
        value *= MAGNITUDES.get(factor[1]) or Fraction(1, PARTS[factor[1]])
        is_of_dozens |= factor[1].startswith("dozen")
        rest, n_decimals = rest[factor.end() :], 0
    percent = _PERCENT.match(rest)
    if percent is not None:
        rest = rest[percent.end() :]
    if not rest.strip():
        return Number(value, n_decimals, percent is not None, currency, is_of_dozens)
    unit = read_unit(rest, is_glued=not rest[0].isspace())
    if unit is None:
        return None
    if currency and _CURRENCY_WORD.fullmatch(unit):
        return Number(value, n_decimals, percent is not None, unit)
    return Number(value, n_decimals, percent is not None, f"{currency} {unit}".strip(), is_of_dozens)


def _compound(written: str) -> Number | None:
    """`2 hours 30 minutes`, `5 feet and 3 inches`: the sum, in the last unit."""
    parts = _COMPOUND_PART.findall(written)
    if not 2 <= len(parts) <= 4 or _COMPOUND_PART.sub("", written).strip():
        return None
    last, total = parts[-1][1], Fraction(0)
    for amount, unit in parts:
        converted = convert(Fraction(amount.replace(",", "")), unit, last)
        if converted is None or not is_known(unit):
            return None
        total += converted
    return Number(total, unit=last, is_compound=True)


# --- amounts that are no numbers: 12\sqrt{13} feet

_TRAILING_TEXT = re.compile(TEXT + r"\s*((?:\^\s*\{?\s*[23]\s*\}?)?)[\s$.]*$")
_TRAILING_DEGREES = re.compile(r"(.*[\d})a-z])\s*(\^\\circ)$", re.DOTALL)
_TRAILING_WORDS = re.compile(r"(.*(?:[\d})\]]|\\pi))\s+([a-zA-Z][a-zA-Z./ ]*(?:\^\{?[23]\}?)?)$", re.DOTALL)


def _amount_and_unit(answer: str, written: str) -> tuple[str, str]:
    """The amount and the unit after it: the last text in LaTeX, a degree sign, or the last words where a
    registry knows them as a unit.
    """
    text = _TRAILING_TEXT.search(answer)
    if text is not None and text.start():
        unit = read_unit(" ".join((text[1] + text[2]).split()), is_text=True)
        amount = plain(answer[: text.start()])
        if (
            unit is not None
            and amount
            and amount[-1] not in "=<>+-*/"
            and not amount.isalpha()
            and (len(unit) > 1 or is_known(unit))
        ):
            return amount, unit
    degrees = _TRAILING_DEGREES.fullmatch(written)
    if (
        degrees is not None
        and not re.search(r"\\(?:sin|cos|tan|cot|sec|csc)", written)
        and "," not in written
    ):
        return degrees[1].strip(), "degree"
    words = _TRAILING_WORDS.fullmatch(written)
    if words is not None:
        unit = read_unit(words[2])
        if unit is not None and is_known(unit):
            return words[1].strip(), unit
    return written, ""
