r"""A second, laxer opinion on whether two answers agree, for one use: to refuse to call an attempt wrong.

A grader that misses one right answer in a hundred fills half of the "wrong" attempts of a strong policy with
right ones, so an attempt counts as wrong only if even this comparison finds no way to read it as the gold
answer. Agreement here is no verdict: `MathGrader` decides what is correct.
"""

import re

from data_gen.answers.equality import compare_exactly
from data_gen.answers.expressions import evaluate
from data_gen.answers.layout import plain
from data_gen.answers.notation import MAX_ANSWER_LENGTH, read_number
from data_gen.answers.vote_key import is_words
from data_gen.records.verdicts import CORRECT

RELATIVE_ROUNDING = 1e-2

_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|-?\.\d+")
_LAYOUT = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|left|right|displaystyle|quad)(?![a-z])"
)
_UNIT_AFTER_NUMBER = re.compile(r"(?:(?<=[\d})])\s*|(?<=\S)\s+)[a-zA-Z]{2,}.*$", re.DOTALL)
_ASSIGNED = re.compile(r"^\s*[a-zA-Z](?:\([a-z]\))?\s*(?:=|\\in(?![a-z]))\s*")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{[a-zA-Z]*\}")
_BETWEEN_PARTS = re.compile(r",|;|\\\\|&|\bor\b|\band\b")


def agrees_leniently(gold_answer: str, answer: str) -> bool:
    r"""Whether `answer` can be read as the gold answer: what a strict grader may miss counts as agreement.

    Equal but for case, punctuation, LaTeX, a unit, a percent sign or `x =`; numbers equal when rounded (1 %
    relative where either has decimals: 1.57 for \frac{\pi}{2}, 0.33 for 1/3; two integers must be equal); the
    gold number as the last number of the answer; the gold word or choice among the words of the answer; the
    same values in another order. Never raises; answers longer than 1,000 characters never agree.
    """
    if max(len(gold_answer), len(answer)) > MAX_ANSWER_LENGTH:
        return False
    return (
        _may_be_equal(gold_answer, answer)
        or _bare(gold_answer) == _bare(answer)
        or _values_agree(gold_answer, answer)
        or _ends_with_number(gold_answer, answer)
        or _names_gold_words(gold_answer, answer)
        or _same_parts(gold_answer, answer)
    )


def _may_be_equal(gold_answer: str, answer: str) -> bool:
    verdict = compare_exactly(gold_answer, answer)
    return verdict is not None and (verdict == CORRECT or verdict.is_unknown)


def _bare(answer: str) -> str:
    """Letters, digits and signs alone, without layout commands, units after a number and `x =`."""
    text = _ASSIGNED.sub("", plain(answer))
    text = _LAYOUT.sub("", _UNIT_AFTER_NUMBER.sub("", text) or text).casefold()
    return "".join(character for character in text if character.isalnum() or character in "+-/^.").strip(".")


def _values_agree(gold_answer: str, answer: str) -> bool:
    gold, other = _approximate(gold_answer), _approximate(answer)
    if gold is None or other is None:
        return False
    ratios = [1.0]
    if (
        any("%" in text or "percent" in text for text in (gold_answer, answer))
        or 0 < abs(gold) < 1
        or 0 < abs(other) < 1
    ):
        ratios += [100.0, 0.01]  # a percentage as its number or as its fraction
    return any(_is_rounding(gold * ratio, other) for ratio in ratios)


def _is_rounding(one: float, other: float) -> bool:
    if one == int(one) and other == int(other):
        return one == other
    return abs(one - other) <= RELATIVE_ROUNDING * max(abs(one), abs(other))


def _approximate(answer: str) -> float | None:
    """The value of an answer that is a number or an expression of numbers, else None."""
    text = _ASSIGNED.sub("", plain(answer))
    number = read_number(text)
    if number is not None:
        try:
            return float(number.value)
        except OverflowError:
            return None
    return evaluate(text)


def _ends_with_number(gold_answer: str, answer: str) -> bool:
    gold, written = read_number(gold_answer), plain(answer)
    numbers = list(_NUMBER.finditer(written))
    if gold is None or not numbers or "}" in written[numbers[-1].end() :]:  # the 2 of 6\\sqrt{2} ends nothing
        return False
    last = read_number(numbers[-1][0])
    return last is not None and gold.value == last.value


def _names_gold_words(gold_answer: str, answer: str) -> bool:
    gold, words = _words(gold_answer), _words(answer)
    if not gold or (len(gold) > 1 and not is_words(" ".join(gold))) or re.search(r"[\d+*/^=-]", gold_answer):
        return False
    return any(words[i : i + len(gold)] == gold for i in range(len(words) - len(gold) + 1))


def _words(answer: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", _LAYOUT.sub("", plain(answer)).casefold())


def _same_parts(gold_answer: str, answer: str) -> bool:
    """The same values in other brackets or as a matrix; in another order where the gold answer has no
    brackets to give them one.
    """
    texts = [_ENVIRONMENT.sub("", plain(text)) for text in (gold_answer, answer)]
    gold, other = [[_bare(part) for part in _BETWEEN_PARTS.split(text)] for text in texts]
    is_ordered = texts[0].startswith(("(", "[")) or texts[0] != plain(gold_answer)
    return len(gold) > 1 and (gold == other if is_ordered else sorted(gold) == sorted(other))
