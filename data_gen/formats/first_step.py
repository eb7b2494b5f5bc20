"""Where the question ends in a text that holds question and first step without a mark between them, as
Math-Shepherd's descendants do.

It ends before `Step 1:`, else before `step 1:`, else after the only question mark; where two places fit, the
row is refused.
"""

import re

from data_gen.formats.stepwise import RowError, StepwiseRow

_MARKUP = r"(?<![^\W_])(?:[#*]+[ \t]*)?"  # ## Step 1: or **Step 1:**
_FIRST_STEP = (re.compile(_MARKUP + r"Step 1\s*:"), re.compile(_MARKUP + r"step 1\s*:"))


def question_end(pieces: list[str], where: str) -> tuple[str, int, str]:
    """The question, the number of marks in it, and the first step, of the pieces between marks behind steps.
    Raises RowError.
    """
    for pattern in _FIRST_STEP:
        places = [(number, match) for number, piece in enumerate(pieces) for match in pattern.finditer(piece)]
        if len(places) > 1:
            raise RowError(
                where,
                "two places where the first step may begin",
                f": {places[0][1][0]!r} comes {len(places)} times",
            )
        if places:
            number, match = places[0]
            question = "".join([*pieces[:number], pieces[number][: match.start()]])
            return question.strip(), number, pieces[number][match.start() :]
    question, mark, first_step = pieces[0].partition("?")
    if not mark or not first_step.strip():
        raise RowError(
            where,
            "no first step",
            f": neither 'Step 1:' nor text after a question mark in {pieces[0].strip()[:60]!r}",
        )
    if "?" in first_step:
        raise RowError(
            where,
            "two places where the first step may begin",
            ": no 'Step 1:' and more than one question mark",
        )
    return (question + mark).strip(), 0, first_step


def named_steps(row: StepwiseRow) -> tuple[str, ...]:
    """The steps, each with its name `Step k:`, which marks the end of the question; what has such names keeps
    them.
    """
    if all(
        re.match(rf"{_MARKUP}[Ss]tep {number}\s*:", step) for number, step in enumerate(row.completions, 1)
    ):
        return row.completions
    return tuple(f"Step {number}: {step}" for number, step in enumerate(row.completions, 1))
