"""The text format of Math-Shepherd (Wang et al. 2024; peiyi9979/Math-Shepherd on the Hub): a tag after each
step, + or - in its place.

    {"input": "What is 2 + 3 * 4? Step 1: 3 * 4 = 12 ки\\nStep 2: 2 + 12 = 15. The answer is: 15 ки",
     "label": "What is 2 + 3 * 4? Step 1: 3 * 4 = 12 +\\nStep 2: 2 + 12 = 15. The answer is: 15 -", "task": "GSM8K"}

The two texts must be equal but for the tags, so a sign is found by its place and never by looking for a +
that may be an addition. Nothing marks where the question ends (see `first_step`). Some public rows carry a
tag inside or at the end of the question: its sign labels no step and is left out and counted. A text after
the last tag is a step without a label: the row is refused. Steps keep their `Step k:`, as in
trl-lib/math_shepherd.

A row written here is byte for byte the published one where that has single spaces; other blanks around tags
are not kept.
"""  # noqa: E501

from collections import Counter
from collections.abc import Mapping
from typing import Any

from data_gen.formats.first_step import named_steps, question_end
from data_gen.formats.stepwise import Reading, RowError, StepwiseRow, others, stepwise, take

TAG = "ки"


def read_row(fields: Mapping[str, Any], where: str) -> Reading:
    tagged, signed = take(fields, "input", (str,), where), take(fields, "label", (str,), where)
    pieces, signs = _align(tagged, signed, where)
    question, n_in_question, first_step = question_end(pieces, where)
    steps = [first_step, *pieces[n_in_question + 1 :]]
    labels = [sign == "+" for sign in signs[n_in_question:]]
    row = stepwise(
        where, question, [step.strip() for step in steps], labels, others(fields, "input", "label")
    )
    return Reading((row,), Counter({"tag in the question": n_in_question} if n_in_question else {}))


def write_row(row: StepwiseRow, where: str) -> dict[str, Any]:
    """Steps that are not named `Step 1:`, `Step 2:` … get that name: without it the question has no end.
    Raises RowError.
    """
    if any(TAG in text for text in (row.prompt, *row.completions)):
        raise RowError(where, f"the text holds the tag {TAG}")
    if any(type(label) is not bool for label in row.labels):
        raise RowError(
            where, "a step whose label is not true or false", f": {list(row.labels)}; each step needs + or -"
        )
    steps = named_steps(row)
    signs = ["+" if label else "-" for label in row.labels]
    tagged = "\n".join(f"{step} {TAG}" for step in steps)
    signed = "\n".join(f"{step} {sign}" for step, sign in zip(steps, signs, strict=True))
    return {
        "input": f"{row.prompt} {tagged}",
        "label": f"{row.prompt} {signed}",
        **others(row.extra, "input", "label"),
    }


def _align(tagged: str, signed: str, where: str) -> tuple[list[str], list[str]]:
    """The text before each tag, and the sign that stands in the tag's place."""
    *pieces, rest = tagged.split(TAG)
    if not pieces:
        raise RowError(where, f"no tag {TAG} in input", f": {tagged[:60]!r}")
    if rest.strip():
        raise RowError(where, "a step without a tag", f": {rest.strip()[:60]!r} after the last {TAG}")
    signs, place = [], 0
    for piece in pieces:
        sign = signed[place + len(piece) : place + len(piece) + 1]
        if not signed.startswith(piece, place):
            raise RowError(
                where,
                "input and label differ",
                f": {piece.strip()[:40]!r} against {signed[place : place + 40].strip()!r}",
            )
        if sign not in ("+", "-"):
            got = repr(sign) if sign else "the end"
            raise RowError(
                where,
                "a tag without a sign",
                f": got {got} after {piece.strip()[-40:]!r}, expected + or - in the place of {TAG}",
            )
        signs.append(sign)
        place += len(piece) + 1
    if signed[place:].strip() != rest.strip():
        raise RowError(
            where, "input and label differ", f": label goes on with {signed[place:].strip()[:60]!r}"
        )
    return pieces, signs
