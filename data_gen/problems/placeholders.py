"""Gold answers that mean that there is none, as `N/A` or `see solution`, however they are written."""

import re
from collections.abc import Sequence
from functools import cache

PLACEHOLDERS = (
    *(
        "proof",
        "none",
        "null",
        "nan",
        "n/a",
        "not found",
        "notfound",
        "not available",
        "not applicable",
        "not provided",
        "not given",
    ),
    *(
        "no answer",
        "answer not found",
        "no solution found",
        "see solution",
        "omitted",
        "unknown",
        "missing",
        "tbd",
        "todo",
        "-",
    ),
)


def stands_for_none(answer: str, placeholders: tuple[str, ...], options: Sequence[str] = ()) -> bool:
    """Whether an answer is one of the placeholders. What is one of the options says something."""
    return bare(answer) in _bare_placeholders(placeholders) and bare(answer) not in map(bare, options)


@cache
def _bare_placeholders(placeholders: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(bare, placeholders))


def bare(answer: str) -> str:
    r"""An answer as placeholders are compared: without \text{}, quotes, brackets, case and _; marks alone
    (`?`, `...`) as `-`.
    """
    inner = re.sub(r"\\(?:text|mathrm|textbf|mbox)\s*\{([^{}]*)\}", r"\1", answer).strip("$ \n\t").casefold()
    if re.fullmatch(r"[-–—_?.…]+", inner):
        return "-"
    plain = " ".join(inner.strip("\"'`*<>[](){}").rstrip(".").replace("_", " ").split())
    return re.sub(r"^n\.\s?a$", "n/a", plain) or inner
