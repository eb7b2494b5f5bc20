"""Equations of MAWPS, ASDiv and SVAMP as solutions: one operation a line, then the answer.

question   Paul had saved up 4 dollars . If he received another 11 dollars ... how many 5 dollar toys could he buy ?
equation   / + 4 11 5                    (MAWPS and ASDiv: prefix)        ( ( 4.0 + 11.0 ) / 5.0 )  (SVAMP: infix)
solution   4 + 11 = 15
           15 / 5 = 3
           #### 3
"""  # noqa: E501

import operator
import re
from collections.abc import Callable
from fractions import Fraction

OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    **{"+": operator.add, "-": operator.sub},
    **{"*": operator.mul, "/": operator.truediv},
}
MOST_DECIMALS = 4
# Names and numbers apart, two problems that differ in he or she are one
PRONOUNS = frozenset(
    {"he", "she", "his", "her", "him", "hers", "it", "its", "they", "them", "their", "theirs"}
)


class NoSolutionError(ValueError):
    """An equation that does not become lines; the message is what is counted."""


def solution_of(equation: str, answer: str) -> str:
    """The lines of an equation in prefix notation. Raises NoSolutionError for one that says something else
    than `answer`, holds no operation, or numbers of more than four decimals.
    """
    tokens = equation.split()
    lines: list[str] = []
    value = _evaluate(tokens, lines)
    if tokens:
        raise NoSolutionError("an equation that goes on after its end")
    if not lines:
        raise NoSolutionError("an equation without an operation")
    if value != _number(answer):
        raise NoSolutionError("an answer that is not that of the equation")
    return "\n".join([*lines, f"#### {written(value)}"])


def n_operations(equation: str) -> int:
    """Of either notation."""
    return sum(token in OPERATIONS for token in equation.split())


def written(value: Fraction) -> str:
    """As a decimal number, without an end of zeros. Raises NoSolutionError for one that has none so short."""
    scaled = value * 10**MOST_DECIMALS
    if scaled.denominator != 1:
        raise NoSolutionError(f"numbers of more than {MOST_DECIMALS} decimals")
    whole, rest = divmod(abs(scaled.numerator), 10**MOST_DECIMALS)
    decimals = f"{rest:0{MOST_DECIMALS}}".rstrip("0")
    return ("-" if value < 0 else "") + str(whole) + (f".{decimals}" if decimals else "")


def template_of(question: str) -> str:
    """What is left of a question without names (words with a capital) and numbers, pronouns alike: problems
    that differ in nothing else are variants of one, and stand on one side of a split.
    """
    words = [word for word in re.findall(r"[A-Za-z]+", question) if word.islower()]
    return " ".join("they" if word in PRONOUNS else word for word in words)


def _evaluate(tokens: list[str], lines: list[str]) -> Fraction:
    """The value of the expression that `tokens` begin with; they are taken away, its lines are added."""
    if not tokens:
        raise NoSolutionError("an equation that ends too early")
    token = tokens.pop(0)
    if token not in OPERATIONS:
        return _number(token)
    left, right = _evaluate(tokens, lines), _evaluate(tokens, lines)
    if token == "/" and not right:
        raise NoSolutionError("a division by 0")
    value = OPERATIONS[token](left, right)
    lines.append(f"{written(left)} {token} {written(right)} = {written(value)}")
    return value


def _number(text: str) -> Fraction:
    if not re.fullmatch(r"-?\d+(\.\d+)?", text):
        raise NoSolutionError("an equation with something that is no number")
    return Fraction(text)
