"""Conversations of RLHFlow (RLHFlow/Mistral-PRM-Data and Deepseek-PRM-Data on the Hub): a turn of the user is
a step, the reply its label.

    {"conversations": [{"role": "user", "content": "What is 2 + 3 * 4? Step 1: 3 * 4 = 12"}, {"role": "assistant", "content": "+"},
                       {"role": "user", "content": "Step 2: 2 + 12 = 15"}, {"role": "assistant", "content": "-"}]}

The first turn holds question and first step; where one ends and the other begins: `first_step`.
"""  # noqa: E501

from collections import Counter
from collections.abc import Mapping
from typing import Any

from data_gen.formats.first_step import named_steps, question_end
from data_gen.formats.stepwise import Reading, RowError, StepwiseRow, others, stepwise, take

_LABELS = {"+": True, "-": False}


def read_row(fields: Mapping[str, Any], where: str) -> Reading:
    turns = take(fields, "conversations", (list,), where)
    if not turns or len(turns) % 2:
        raise RowError(
            where,
            "conversations are no pairs of turns",
            f": got {len(turns)}, expected a turn of the user and a reply for each step",
        )
    said, labels = [], []
    for number, turn in enumerate(turns):
        place = f"{where}: turn {number}"
        if type(turn) is not dict:
            raise RowError(place, "turn is no dict", f": got {turn!r:.60}")
        role, content = take(turn, "role", (str,), place), take(turn, "content", (str,), place)
        wanted = ("user", "assistant")[number % 2]
        if role != wanted:
            raise RowError(place, "turns do not alternate", f": got one of {role!r:.40}, expected {wanted}")
        if wanted == "user":
            said.append(content)
        elif content.strip() in _LABELS:
            labels.append(_LABELS[content.strip()])
        else:
            raise RowError(place, "reply is no label", f": got {content!r:.60}, expected + or -")
    question, n_before, first_step = question_end(said[:1], where)
    assert n_before == 0
    steps = [step.strip() for step in (first_step, *said[1:])]
    return Reading((stepwise(where, question, steps, labels, others(fields, "conversations")),), Counter())


def write_row(row: StepwiseRow, where: str) -> dict[str, Any]:
    """Steps that are not named `Step 1:`, `Step 2:` … get that name: without it the question has no end.
    Raises RowError.
    """
    turns = []
    for place, (step, label) in enumerate(zip(named_steps(row), row.labels, strict=True)):
        if type(label) is not bool:
            raise RowError(
                where,
                "a step whose label is not true or false",
                f": {list(row.labels)}; each step needs + or -",
            )
        turns += [
            {"role": "user", "content": f"{row.prompt} {step}" if place == 0 else step},
            {"role": "assistant", "content": "+" if label else "-"},
        ]
    return {"conversations": turns, **others(row.extra, "conversations")}
