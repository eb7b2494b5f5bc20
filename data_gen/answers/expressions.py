r"""The approximate value of an expression of numbers (`2\sqrt{3}+\frac{\pi}{4}`) in microseconds, without
algebra and without risk.

What reads in two ways has no value here: `3\frac12` (a mixed number), `1/2\pi`, `2^34`, functions, variables,
factorials.
"""

import math
import re

MAX_EXPRESSION_LENGTH = 200  # characters
MAX_BRACKETS = 32  # with the length, bounds the depth of the recursion
MAX_EXPONENT = 1000  # beyond it rounding errors of the base grow past RELATIVE_ERROR
MAX_CANCELLATION = 1e-3  # a sum this much smaller than its terms has lost digits and has no value
RELATIVE_ERROR = 1e-6  # of a value, by the three bounds above; in truth near 1e-12

_TOKEN = re.compile(r"\\?[a-zA-Z]+|\d+(?:\.\d+)?|\.\d+|\S")
_NUMBER_START = re.compile(r"[\d.]")


class _NoValueError(Exception):
    pass


def evaluate(text: str) -> float | None:
    r"""The value of an expression of numbers, \pi, e, \sqrt, \frac, powers and brackets; None if it is
    anything else, or too large.
    """
    if (
        len(text) > MAX_EXPRESSION_LENGTH
        or text.count("(") + text.count("{") + text.count("[") > MAX_BRACKETS
    ):
        return None
    parser = _Parser(_TOKEN.findall(text))
    try:
        value = parser.sum()
    except (_NoValueError, ArithmeticError, ValueError):  # ValueError: the root of a negative number
        return None
    return value if not parser.peek() and math.isfinite(value) else None


class _Parser:
    """Recursive descent: a sum of products of signed powers."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = [*tokens, ""]
        self.position = 0

    def peek(self) -> str:
        return self.tokens[self.position]

    def take(self, *wanted: str) -> str:
        """The next token if it is one of these, else nothing."""
        token = self.peek()
        if token not in wanted:
            return ""
        self.position += 1
        return token

    def sum(self) -> float:
        terms = [self.product()]
        while sign := self.take("+", "-"):
            terms.append(self.product() if sign == "+" else -self.product())
        value = math.fsum(terms)
        if len(terms) > 1 and abs(value) < MAX_CANCELLATION * max(map(abs, terms)):
            raise _NoValueError
        return value

    def product(self) -> float:
        value, is_divided = self.power(), False
        while True:
            if self.take("*", "\\cdot", "\\times", "×"):
                value *= self.power()
            elif self.take("/"):
                value /= self.power()
                is_divided = True
            elif self.peek() in ("(", "e", "π", "\\pi", "\\sqrt", "\\frac"):
                is_mixed_number = self.peek() == "\\frac" and _NUMBER_START.match(
                    self.tokens[self.position - 1]
                )
                if is_divided or is_mixed_number:
                    raise _NoValueError
                value *= self.power()
            else:
                return value

    def power(self) -> float:
        if self.take("-"):
            return -self.power()
        value = self.atom()
        if self.take("^"):
            if self.peek().isdecimal() and len(self.peek()) > 1:
                raise _NoValueError
            exponent = self.power()
            if abs(exponent) > MAX_EXPONENT:
                raise _NoValueError
            value = math.pow(value, exponent)
        return value

    def atom(self) -> float:
        token = self.peek()
        if not token:
            raise _NoValueError
        self.position += 1
        if token in ("(", "{"):
            return self.closed_by(")" if token == "(" else "}")
        if token == "\\frac":
            return self.argument() / self.argument()
        if token == "\\sqrt":
            index = self.closed_by("]") if self.take("[") else 2.0
            return math.pow(self.argument(), 1 / index)
        if token in ("\\pi", "π"):
            return math.pi
        if token == "e":
            return math.e
        if _NUMBER_START.match(token) and token != ".":
            return float(token)
        raise _NoValueError

    def argument(self) -> float:
        if not self.take("{"):
            raise _NoValueError
        return self.closed_by("}")

    def closed_by(self, bracket: str) -> float:
        value = self.sum()
        if not self.take(bracket):
            raise _NoValueError
        return value
