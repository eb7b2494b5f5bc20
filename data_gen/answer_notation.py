r"""How an answer is written plainly, and the exact number that a whole answer is.

`12`, `$12.00`, `\frac{24}{2}`, `12 dollars`, `1.2\times10^1` and `twelve` are numbers; `2\sqrt3` and `(1,2)` are not: they stay text.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

MAX_ANSWER_LENGTH = 1000  # characters; longer ones are loops of a policy, not answers

# --- without layout

_REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|[bB]ig+[lr]?|displaystyle|boxed)(?![a-z])|(?<!\\)\\[!,;: ]|~", ""),
        (r"\*\*|^\$+|(?<!\\)\$+$|(?<!\\)\\[()\[\]]", ""),
        (r"[−–]", "-"),
        (r"[°]|\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\degrees?(?![a-z])|\bdegrees?\b", ""),
        (r"\{,\}", ","),
        (r"\\[dtc]frac", r"\\frac"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\sqrt\s*(\d+|[a-zA-Z])", r"\\sqrt{\1}"),
        (r"\\(?:text|mathrm|mbox|textbf|textrm|mathbf|textit)\s*\{([^{}]*)\}", r" \1 "),
        (r"\\([%$#&])", r"\1"),
        (r"\\(?:varnothing|emptyset)|^\s*no (?:real )?solutions?\s*$|^\s*\\\{\s*\\\}\s*$|∅", "emptyset"),
    )
]
_UNTOUCHED = re.compile(r"[\d\s.,/%+()\[\]:=<>^xyzA-Z-]*")  # no rewrite changes a text of these alone


def plain(answer: str) -> str:
    """`answer` without LaTeX layout, wrappers and degree signs, one blank between words."""
    if not _UNTOUCHED.fullmatch(answer):
        for pattern, replacement in _REWRITES:
            answer = pattern.sub(replacement, answer)
    return " ".join(answer.split()).rstrip(".,; ")


# --- numbers

_INTEGER = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_DECIMAL = rf"(?:{_INTEGER}(?:\.\d*)?|\.\d+)"
_MAGNITUDES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_NOT_UNITS = "pi|sqrt|and|or|mod|log|sin|cos|tan|base|times|plus|minus|over|squared|cubed"
_SHORT_DECIMAL = re.compile(r"(-?)\$?(\d{1,15}|\d{1,3}(?:,\d{3}){1,4})(?:\.(\d{1,15}))?")
_NUMBER = re.compile(
    rf"""(?P<sign>[-+]?)\s*[$£€]?\s*(?P<minus>-?)
    (?:(?P<whole>\d+)?\s*\\frac\{{\s*(?P<top>-?{_DECIMAL})\s*\}}\{{\s*(?P<bottom>-?{_DECIMAL})\s*\}}
      |(?P<mixed>\d+)\s+(?P<mixed_top>\d+)\s*/\s*(?P<mixed_bottom>\d+)
      |(?P<numerator>{_DECIMAL})\s*/\s*(?P<denominator>-?{_DECIMAL})
      |(?P<decimal>{_DECIMAL})(?:\s*(?:\\times|\\cdot|[x×*])\s*10\s*\^\s*\{{?\s*(?P<power>[-+]?\d{{1,3}})\s*\}}?|[eE](?P<exponent>[-+]?\d{{1,3}}))?)
    (?:\s*(?P<magnitude>{"|".join(_MAGNITUDES)}))?
    (?:\s*(?P<percent>%|percent)|\s*[$£€]|\s+(?!(?:{_NOT_UNITS})\b)
      (?P<unit>(?:[a-zA-Z]{{3,}}|cm|mm|km|kg|ml|ft|in|lb|oz|mi|mg|am|pm|m|g)(?:[ ][a-zA-Z]+|[ ]?\^\{{?[23]\}}?)*))?""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Number:
    """An exact value as it was written: `n_decimals` places after the point, a percent sign, a unit ("" for none)."""

    value: Fraction
    n_decimals: int = 0
    is_percent: bool = False
    unit: str = ""

    @property
    def terminates(self) -> bool:
        """Whether the value has a finite decimal expansion."""
        rest = self.value.denominator
        for prime in (2, 5):
            while rest % prime == 0:
                rest //= prime
        return rest == 1


class WrittenAnswer(NamedTuple):
    """An answer, what it is without layout, and its number where the whole of it is one."""

    text: str
    plain: str
    number: Number | None


@lru_cache(maxsize=8192)  # a gold answer meets many answers, a vote the same few; 1,000 characters at most each
def read_answer(answer: str) -> WrittenAnswer:
    """`answer` read once; one longer than MAX_ANSWER_LENGTH stays as it is and has no number."""
    if len(answer) > MAX_ANSWER_LENGTH:
        return WrittenAnswer(answer, answer, None)
    written = plain(answer)
    return WrittenAnswer(answer, written, _short_decimal(written) or _number(written))


def read_number(answer: str) -> Number | None:
    """The number that the whole answer is: integer, decimal, fraction, mixed or scientific, a unit allowed; else None."""
    return read_answer(answer).number


def _short_decimal(written: str) -> Number | None:
    """What nearly all numbers are, many times faster than by the whole grammar."""
    match = _SHORT_DECIMAL.fullmatch(written)
    if match is None:
        return None
    sign, whole, decimals = match.groups()
    if "," in whole:
        whole = whole.replace(",", "")
    value = Fraction(int(sign + whole + decimals), 10 ** len(decimals)) if decimals else Fraction(int(sign + whole))
    return Number(value, len(decimals or ""))


def _number(written: str) -> Number | None:
    if written.casefold() in _WORDS:
        return Number(Fraction(_WORDS.index(written.casefold())))
    match = _NUMBER.fullmatch(written)
    if match is None:
        return None
    part = {name: text.replace(",", "") for name, text in match.groupdict().items() if text is not None}
    top = part.get("top") or part.get("mixed_top") or part.get("numerator") or part["decimal"]
    bottom = Fraction(part.get("bottom") or part.get("mixed_bottom") or part.get("denominator") or 1)
    if bottom == 0:
        return None
    value = Fraction(part.get("whole") or part.get("mixed") or 0) + Fraction(top) / bottom
    value *= Fraction(10) ** int(part.get("power") or part.get("exponent") or 0) * _MAGNITUDES.get(part.get("magnitude", ""), 1)
    is_negative = (part["sign"] == "-") != (part["minus"] == "-")
    n_decimals = len(part.get("decimal", "").partition(".")[2])
    return Number(-value if is_negative else value, n_decimals, "percent" in part, part.get("unit", "").casefold())
