r"""Answers: where a solution states its own, how one is written plainly, and which pairs can be compared exactly without algebra.

Policies where mathematics leaves a choice (the tests hold a row for each):

- a percentage equals its number and its fraction (`50\%` is 50 and 0.5), since questions ask for either;
- a unit counts only if both answers name one; two different units are ambiguous, not wrong, until someone converts them;
- a decimal with six or more places equals the fraction that it rounds or cuts off (0.333333 is 1/3, 0.333 is not);
- `(10,000)` against 10,000 may be a pair or a number, and degrees against a multiple of pi need a conversion: ambiguous.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from data_gen.records import CORRECT, INCORRECT, Verdict, unknown

MAX_ANSWER_LENGTH = 1000  # characters; longer ones are loops of a policy, not answers

# --- where a solution states its answer

_STATED = re.compile(r"^[ \t]*(?:####|A:|\**(?:Final[ ])?Answer:\**)(.*)$|\banswer is:?(.*)$", re.IGNORECASE | re.MULTILINE)
_ANSWER_IS = re.compile(r"\banswer is:?", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\.(?=\s|$)|\bI hope\b")


def find_answer(text: str, is_truncated: bool = False) -> str | None:
    r"""The last answer that `text` states: `\boxed{x}`, else a line `#### x`, `A: x` or `Answer: x`, else `answer is x`; None if none.

    Thoughts (`<think>...</think>`, closed or not) are left out. In truncated text an open box and the last line are no answers: the rest
    of them may be missing.
    """
    text = text.rpartition("</think>")[2].partition("<think>")[0]
    boxed = find_boxed(text)
    if boxed is not None:
        return boxed.strip() or None
    if "\\boxed" in text:  # a box that is never closed
        return None
    stated = text[: text.rfind("\n") + 1] if is_truncated else text
    matches = list(_STATED.finditer(stated))
    if not matches:
        return None
    line, sentence = matches[-1].groups(default="")
    sentence = sentence or "".join(_ANSWER_IS.split(line)[1:][-1:])  # Final Answer: The final answer is $5$. I hope it is correct.
    answer: str = _SENTENCE_END.split(sentence, maxsplit=1)[0] if sentence else line
    return answer.strip().strip("*").strip().rstrip(".") or None


def find_boxed(text: str) -> str | None:
    r"""What the last outermost `\boxed{...}` or `\fbox{...}` holds, braces balanced; None if there is none or it is not closed."""
    content, position = None, 0
    for match in re.finditer(r"\\(?:boxed|fbox)\s*(\{)?", text):
        if match.start() < position:
            continue  # inside the box before it
        if match[1] is None:  # \boxed 5
            bare = re.compile(r"[^\s$]+").match(text, match.end())
            content, position = (bare[0], bare.end()) if bare else (None, match.end())
            continue
        end = _closing_brace(text, match.end())
        if end is None:
            return None
        content, position = text[match.end() : end], end
    return content


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for brace in re.compile(r"(?<!\\)[{}]").finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return None


# --- how an answer is written plainly

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
        (r"\\sqrt\s*(\w)", r"\\sqrt{\1}"),
        (r"\\(?:text|mathrm|mbox|textbf|textrm|mathbf|textit)\s*\{([^{}]*)\}", r" \1 "),
        (r"\\([%$#&])", r"\1"),
        (r"\\(?:varnothing|emptyset)|^\s*no (?:real )?solutions?\s*$|^\s*\\\{\s*\\\}\s*$", "emptyset"),
    )
]
_LOOSE_BLANK = re.compile(r"(?<!\d) | (?!\d)")  # between two digits a blank separates values
_CHOICE = re.compile(r"\(([A-Z])\)")
_WORDS = re.compile(r"[^\W\d_]{3,}|[^\W\d_]+(?: [^\W\d_]+)+")


def plain(answer: str) -> str:
    """`answer` without LaTeX layout, wrappers and degree signs, one blank between words."""
    for pattern, replacement in _REWRITES:
        answer = pattern.sub(replacement, answer)
    return " ".join(answer.split()).rstrip(".,; ")


@lru_cache(maxsize=65536)  # votes ask for the same few answers again and again
def answer_key(answer: str) -> str:
    """The key under which votes for an answer are counted: equal keys are equal answers, and most equal answers have equal keys."""
    if len(answer) > MAX_ANSWER_LENGTH:
        return answer
    number = read_number(answer)
    if number is not None:
        return str(number.value)
    written = plain(answer)
    choice = _CHOICE.fullmatch(written)
    if choice:
        return choice[1]
    return written.casefold() if _WORDS.fullmatch(written) else _LOOSE_BLANK.sub("", written)


# --- numbers

_INTEGER = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_DECIMAL = rf"(?:{_INTEGER}(?:\.\d*)?|\.\d+)"
_MAGNITUDES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_NOT_UNITS = "pi|sqrt|and|or|mod|log|sin|cos|tan|base|times|plus|minus|over|squared|cubed"
_NUMBER = re.compile(
    rf"""(?P<sign>[-+]?)\s*[$£€]?\s*(?P<minus>-?)
    (?:(?P<whole>\d+)?\s*\\frac\{{\s*(?P<top>-?{_DECIMAL})\s*\}}\{{\s*(?P<bottom>-?{_DECIMAL})\s*\}}
      |(?P<mixed>\d+)\s+(?P<mixed_top>\d+)\s*/\s*(?P<mixed_bottom>\d+)
      |(?P<numerator>{_DECIMAL})\s*/\s*(?P<denominator>-?{_DECIMAL})
      |(?P<decimal>{_DECIMAL})(?:\s*(?:\\times|\\cdot|[x×*])\s*10\s*\^\s*\{{?\s*(?P<power>[-+]?\d{{1,3}})\s*\}}?|[eE](?P<exponent>[-+]?\d{{1,3}}))?)
    (?:\s*(?P<magnitude>{"|".join(_MAGNITUDES)}))?
    (?:\s*(?P<percent>%|percent)|\s*[$£€]|\s+(?!(?:{_NOT_UNITS})\b)
      (?P<unit>(?:[a-zA-Z]{{3,}}|cm|mm|km|kg|ml|ft|in|lb|oz|mi|mg|am|pm|m|g)(?:[ ][a-zA-Z]+|\^\{{?[23]\}}?)*))?""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Number:
    """An exact value as it was written: `n_decimals` places after the point, a percent sign, a unit ("" for none)."""

    value: Fraction
    n_decimals: int
    is_percent: bool
    unit: str

    @property
    def terminates(self) -> bool:
        """Whether the value has a finite decimal expansion."""
        rest = self.value.denominator
        for prime in (2, 5):
            while rest % prime == 0:
                rest //= prime
        return rest == 1


def read_number(answer: str) -> Number | None:
    """The number that the whole answer is: integer, decimal, fraction, mixed or scientific, a unit allowed; else None."""
    match = _NUMBER.fullmatch(plain(answer)) if len(answer) <= MAX_ANSWER_LENGTH else None
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


# --- exact comparison

_TUPLE_OR_THOUSANDS = re.compile(r"\(\s*\d{1,3}(?:,\s*\d{3})+\s*\)")
_WITH_BASE = re.compile(r"(\w+)_\{?(\d+)\}?")
_DEGREES = re.compile(r"°|\\circ|degree")
_CLOCK_OR_RATIO = re.compile(r"\d+(?::\d+)+")
_BRACKETED = re.compile(r"([(\[]|\\\{)([^()\[\]{}]*,[^()\[\]{}]*)([)\]]|\\\})")


def compare_exactly(gold: str, answer: str) -> Verdict | None:
    """The verdict where rules about numbers and notation settle it; None where it takes algebra."""
    gold_number, number = read_number(gold), read_number(answer)
    if gold_number is not None and number is not None:
        return _compare_numbers(gold_number, number)
    if answer_key(gold) == answer_key(answer):
        return CORRECT
    pair = plain(gold), plain(answer)
    if any(_TUPLE_OR_THOUSANDS.fullmatch(one) and one.strip("()").replace(" ", "") == other for one, other in (pair, pair[::-1])):
        return unknown("ambiguous")
    if any(_DEGREES.search(one) and "\\pi" in other for one, other in ((gold, answer), (answer, gold))):
        return unknown("ambiguous")
    return _compare_notation(*pair)


def _compare_numbers(gold: Number, answer: Number) -> Verdict:
    if gold.unit and answer.unit and gold.unit != answer.unit:
        return unknown("ambiguous")
    if gold.value == answer.value:
        return CORRECT
    if gold.is_percent != answer.is_percent:
        percent, fraction = (gold, answer) if gold.is_percent else (answer, gold)
        return CORRECT if percent.value / 100 == fraction.value else INCORRECT
    exact, rounded = (gold, answer) if answer.n_decimals else (answer, gold)
    is_close = abs(exact.value - rounded.value) < Fraction(1, 10**rounded.n_decimals)
    return CORRECT if is_close and rounded.n_decimals >= 6 and not exact.terminates else INCORRECT


def _compare_notation(gold: str, answer: str) -> Verdict | None:
    bases = _WITH_BASE.fullmatch(gold), _WITH_BASE.fullmatch(answer)
    if any(bases) and gold[:1].isdigit() and answer[:1].isdigit():  # the question names the base: 2516 is 2516_8, but 25 is not 11001_2
        digits = [match[1] if match else text for match, text in zip(bases, (gold, answer), strict=True)]
        return CORRECT if digits[0] == digits[1] and not all(bases) else INCORRECT
    if _CLOCK_OR_RATIO.fullmatch(gold) and _CLOCK_OR_RATIO.fullmatch(answer):
        return INCORRECT  # equal ones have equal keys; 6:30 and 1:5 are no equal times, 2:4 and 1:2 no equal scores
    brackets = _BRACKETED.fullmatch(gold), _BRACKETED.fullmatch(answer)
    if brackets[0] and brackets[1] and (brackets[0][1], brackets[0][3]) != (brackets[1][1], brackets[1][3]):
        return INCORRECT  # an interval, its closure, a point and a set differ
    return None
