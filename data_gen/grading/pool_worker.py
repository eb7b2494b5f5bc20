r"""What runs in a worker process of grading_pool.py: `python grading_worker.py MAX_BYTES MAX_SECONDS` answers
questions from stdin.

math-verify and sympy may run for hours or eat all memory on an answer like 9^{9^{9}}, and neither a thread
nor Python's handling of an alarm stops every such case. So this process imports them once and forks a child
that does the work. For each question the child sets an alarm that has no handler: the kernel ends it when the
time is up, inside one long multiplication too. Then the parent forks the next child, which takes
milliseconds. When stdin closes, both end. A question is `{"gold": ..., "answer": ...}`, a reply `{"is_equal":
bool}` or `{"unknown": reason}`: unparsable, unparsable_gold, timeout or memory. Nothing of ours is imported.
"""

import json
import os
import re
import resource
import signal
import sys
from pathlib import Path
from typing import Any

N_QUESTIONS = 5000  # after these a child is replaced: sympy's caches only grow
RECYCLED, OUT_OF_MEMORY = 3, 4  # exit codes of a child
WARM_UP = (
    ("\\frac{x+1}{\\sqrt{2}}", "\\frac{\\sqrt{2}(x+1)}{3}"),
    ("(-\\infty,2]", "x \\le 3"),
    ("y=2x+1", "2x-y=3"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\{1,2\\}"),
    ("\\sin(x)+i", "e^{x}"),
)


def serve(max_bytes: int, max_seconds: float) -> None:
    """Keep one child answering until stdin closes."""
    resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _read_letters_as_they_stand()
    for gold, answer in WARM_UP:
        compare(gold, answer)  # what is imported before the first fork, each child has
    _reply({"ready": os.getpid()})
    while True:
        child = os.fork()
        if child == 0:
            _answer_questions(max_bytes, max_seconds)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == -signal.SIGALRM:
            _reply({"unknown": "timeout"})
        elif code == OUT_OF_MEMORY:
            _reply({"unknown": "memory"})
        elif code != RECYCLED:
            # Stdin is closed, or the child died of something else: the pool starts a new worker and asks once
            # more
            return


def _answer_questions(max_bytes: int, max_seconds: float) -> None:
    for _ in range(N_QUESTIONS):
        line = sys.stdin.buffer.readline()
        if not line:
            os._exit(0)
        question = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, max_seconds)
        try:
            reply = compare(question["gold"], question["answer"])
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if _peak_bytes() > max_bytes / 2:
            # Math-verify answers False where an allocation failed, which must not become a verdict
            os._exit(OUT_OF_MEMORY)
        _reply(reply)
    os._exit(RECYCLED)


def _reply(reply: dict[str, Any]) -> None:
    os.write(sys.stdout.fileno(), json.dumps(reply).encode() + b"\n")


def _peak_bytes() -> int:
    """The most memory this process itself ever held (`ru_maxrss` starts at that of the process that launched
    it); 0 where unknown.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024


# --- algebra

_DEGREES_IN_FUNCTION = re.compile(
    r"(\\(?:sin|cos|tan|cot|sec|csc))\s*[({]?\s*(\d+(?:\.\d+)?)\s*\^\s*\{?\s*\\circ\s*\}?\s*[)}]?"
)
# What the parser would read, and otherwise than a person: two numbers side by side as their sum, a number
# with a base without it
_COMMAND = re.compile(
    r"\\[a-zA-Z]+(?:\{[a-z]*matrix\})?|\b(?:or|and|sin|cos|tan|log|ln|exp|mod|emptyset)\b|(?<![\d)])_\{?\w+\}?"
)
_MISREAD = re.compile(r"\d\s+(?!\\frac)\d|\$|[\d)]\s*_|'")
_MIXED = re.compile(r"(?<![\d.}^_])(\d+)\s*\\frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_RELATION = r"(?:[<>]|\\(?:[lg]eq?|neq?)(?![a-z]))"
_SEVERAL_CONDITIONS = re.compile(rf"{_RELATION}.*(?:\bor\b|\band\b|,).*{_RELATION}|{_RELATION}.*,")
_ROUNDED = re.compile(r"-?(?=\d*\.?\d*[1-9]\d*)\d*\.\d{2,5}")
N_DIGITS = 30  # to which values are compared; sympy itself stops at 15, math-verify at 6 places
FLOAT_DIFFERENCE = 1e-6  # relative; where a decimal stands in one of them it may be rounded
POINTS = (
    ((2, 3, 5, 7, 11), (13, 17, 19, 23, 29), (31, 37, 41, 43, 47)),
    ((0.5, 0.375, 0.625, 0.75, 0.875), (0.25, 0.125, 0.6875, 0.8125, 0.3125)),
)


def compare(gold: str, answer: str) -> dict[str, Any]:
    r"""Whether two answers are equal by math-verify, an inequality and its solution set being equal both ways.

    Its yes to two numbers is checked to N_DIGITS digits, and its no to two formulas at positive values of
    their variables: where they agree there, they are equal under assumptions that nobody stated (`\sqrt{ab}`
    and `\sqrt{a}\sqrt{b}`).
    """  # noqa: E501
    gold_parsed, parsed = _parse(gold), _parse(answer)
    if not gold_parsed:
        return {"unknown": "unparsable_gold"}
    if not parsed:
        return {"unknown": "unparsable"}
    from math_verify import verify

    def is_equal(one: list[Any], other: list[Any]) -> bool:
        return verify(one, other, timeout_seconds=None, allow_set_relation_comp=True)

    complex_pair = _with_imaginary_unit(gold_parsed), _with_imaginary_unit(parsed)
    if is_equal(gold_parsed, parsed) or (complex_pair != (gold_parsed, parsed) and is_equal(*complex_pair)):
        return {"is_equal": not _differ_in_value(complex_pair[0][0], complex_pair[1][0])}
    if _same_number(gold_parsed[0], parsed[0]):
        return {"is_equal": True}
    folded = _folded(gold), _folded(answer)
    if folded != (gold, answer) and is_equal(_parse(folded[0]), _parse(folded[1])):
        return {"unknown": "ambiguous"}  # x and X may be one letter
    if _agree_at_points(gold_parsed[0], parsed[0]) or "\\sqrt[" in gold + answer:
        return {"unknown": "assumptions"}
    if _ROUNDED.fullmatch(gold) and _rounds_to(parsed[0], gold):
        return {"unknown": "rounded_gold"}
    if any(_SEVERAL_CONDITIONS.search(text) for text in (gold, answer)):
        return {"unknown": "ambiguous"}
    solved = _same_solutions(gold_parsed[0], parsed[0])
    return {"is_equal": False} if solved is None else solved


def _same_number(one: Any, other: Any) -> bool:
    """Whether two numbers agree in N_DIGITS / 2 digits: 2^{0.5} is a float for sympy and no root."""
    from sympy import Expr, Float

    if not (isinstance(one, Expr) and isinstance(other, Expr)) or one.free_symbols or other.free_symbols:
        return False
    if not (one.has(Float) or other.has(Float)):
        return False
    values = [value.evalf(N_DIGITS) for value in (one, other)]
    if not all(value.is_number and value.is_finite for value in values):
        return False
    return bool(abs(values[0] - values[1]) <= abs(values[0]) * 10 ** -(N_DIGITS // 2))


def _rounds_to(value: Any, gold: str) -> bool:
    """Whether a number is the exact value that a gold decimal may round."""
    from sympy import Expr, Float

    if not isinstance(value, Expr) or value.free_symbols or value.has(Float):
        return False
    return bool(
        abs(complex(value.evalf(N_DIGITS)) - float(gold)) <= 0.5 * 10.0 ** -len(gold.partition(".")[2])
    )


def _same_solutions(one: Any, other: Any) -> dict[str, Any] | None:
    """Two conditions on one variable (or one and a set) by their sets of solutions; None if they are
    something else.
    """
    from sympy import And, Eq, Or, Set
    from sympy.core.relational import Relational

    conditions = [
        part for part in (one, other) if isinstance(part, And | Or | Relational) and not isinstance(part, Eq)
    ]
    if not conditions or not all(isinstance(part, Set) or part in conditions for part in (one, other)):
        return None
    symbols = {symbol for part in conditions for symbol in part.free_symbols}
    if len(symbols) != 1:
        return {"unknown": "ambiguous"}
    try:
        solutions = [part.as_set() if part in conditions else part for part in (one, other)]
    except (NotImplementedError, ValueError, TypeError):  # what sympy cannot solve
        return {"unknown": "ambiguous"}
    return {"is_equal": bool(solutions[0] == solutions[1])}


def _differ_in_value(one: Any, other: Any) -> bool:
    """Whether two numbers are certainly different; False for anything else."""
    from sympy import Expr, Float, Rational

    if not (isinstance(one, Expr) and isinstance(other, Expr)) or one.free_symbols or other.free_symbols:
        return False
    if one.has(Float) or other.has(Float):
        values = [complex(value.evalf(N_DIGITS)) for value in (one, other)]
        return abs(values[0] - values[1]) > FLOAT_DIFFERENCE * max(map(abs, values))
    exact = [value.doit() for value in (one, other)]
    if all(isinstance(value, Rational) for value in exact):
        return bool(exact[0] != exact[1])
    size = abs(exact[0].evalf(N_DIGITS))
    return bool(abs((exact[0] - exact[1]).evalf(N_DIGITS)) > size * 10 ** -(N_DIGITS // 2))


def _agree_at_points(one: Any, other: Any) -> bool:
    """Whether two formulas of the same variables have the same real value at each point of one of the two
    sets of POINTS.
    """
    from sympy import Expr

    if not (isinstance(one, Expr) and isinstance(other, Expr)):
        return False
    symbols = sorted(one.free_symbols | other.free_symbols, key=str)
    if not 0 < len(symbols) <= len(POINTS[0]) or one.free_symbols != other.free_symbols:
        return False
    return any(
        all(_agree_at(one, other, dict(zip(symbols, point, strict=False))) for point in points)
        for points in POINTS
    )


def _agree_at(one: Any, other: Any, point: dict[Any, Any]) -> bool:
    values = [part.subs(point).evalf(N_DIGITS) for part in (one, other)]
    if not all(value.is_number and value.is_finite and value.is_real for value in values):
        return False
    return bool(abs(values[0] - values[1]) <= abs(values[0]) * 10 ** -(N_DIGITS // 2))


def _read_letters_as_they_stand() -> None:
    """math-verify reads M and m as one letter, and where a text does not parse, the last equation in it; its
    other settings stay.
    """
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig
    from math_verify import parser

    def parse_latex(latex: str) -> Any:
        is_real = not parser.should_treat_as_complex(latex)
        config = ConversionConfig(lowercase_symbols=False)
        return parser.latex2sympy(
            latex, is_real=is_real, convert_degrees=False, normalization_config=None, conversion_config=config
        )

    parser.parse_latex_cached = parse_latex


def _folded(latex: str) -> str:
    """With small letters alone, commands excepted."""
    return re.sub(r"(\\[A-Za-z]+)|([A-Z])", lambda match: match[1] or match[2].lower(), latex)


def _parse(answer: str) -> list[Any]:
    """What latex2sympy reads in the whole of `answer`; nothing where it does not parse, and never a number
    found inside of it.
    """
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    if _MISREAD.search(_COMMAND.sub("*", answer)):
        return []
    answer = _MIXED.sub(
        lambda mixed: (
            rf"({mixed[1]}+\frac{{{mixed[2]}}}{{{mixed[3]}}})" if int(mixed[2]) < int(mixed[3]) else mixed[0]
        ),
        answer,
    )
    answer = _DEGREES_IN_FUNCTION.sub(r"\1{(\\frac{\2\\pi}{180})}", answer)
    normalization = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all", equations=False
    )
    target = LatexExtractionConfig(normalization_config=normalization)
    parsed: list[Any] = parse(f"${answer}$", (target,), fallback_mode="no_fallback", parsing_timeout=None)
    return parsed


def _with_imaginary_unit(parsed: list[Any]) -> list[Any]:
    """math-verify reads the letter i as a variable and leaves the root of -1 as it is."""
    from sympy import Expr, I, S, sqrt

    root = sqrt(S.NegativeOne, evaluate=False)

    def read(part: Any) -> Any:
        if not isinstance(part, Expr):
            return part
        return part.subs(
            [(root, I), *((symbol, I) for symbol in part.free_symbols if getattr(symbol, "name", "") == "i")]
        )

    return [read(part) for part in parsed]


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]))
