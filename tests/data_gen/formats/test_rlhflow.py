from typing import Any

import pytest

from data_gen.formats.rlhflow import read_row, write_row
from data_gen.formats.stepwise import RowError, StepwiseRow


def conversation(*turns: str) -> dict[str, Any]:
    """Turns of the user and replies, one after the other."""
    return {
        "conversations": [
            {"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)
        ]
    }


@pytest.mark.parametrize(
    ("first", "question", "step"),
    [
        ("What is 2 + 3 * 4? Step 1: 3 * 4 = 12", "What is 2 + 3 * 4?", "Step 1: 3 * 4 = 12"),
        ("Find x.\n\n## Step 1: 3 * 4 = 12", "Find x.", "## Step 1: 3 * 4 = 12"),
        ("Why? So?\n**Step 1:** 12", "Why? So?", "**Step 1:** 12"),
        ("What is 2 + 3 * 4? 3 * 4 = 12", "What is 2 + 3 * 4?", "3 * 4 = 12"),
    ],
)
def test_the_first_turn_holds_question_and_first_step(first: str, question: str, step: str) -> None:
    ((row,), left_out) = read_row(conversation(first, "+", "Step 2: 15", " - ") | {"id": 7}, "x")
    assert row == StepwiseRow(question, (step, "Step 2: 15"), (True, False), {"id": 7})
    assert not left_out


def test_rows_come_back_as_they_were() -> None:
    fields = conversation("Why? Step 1: A", "+", "Step 2: B", "-", "Step 3: C", "+") | {"id": 7}
    assert write_row(read_row(fields, "x").rows[0], "x") == fields
    unnamed = write_row(StepwiseRow("Why?", ("A", "B"), (True, False)), "x")
    assert unnamed == conversation("Why? Step 1: A", "+", "Step 2: B", "-")
    with pytest.raises(RowError, match="a step whose label is not true or false"):
        write_row(StepwiseRow("Why?", ("A",), (0.5,)), "x")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (conversation(), "conversations are no pairs of turns: got 0"),
        (conversation("Why? A", "+", "B"), "got 3, expected a turn of the user and a reply for each step"),
        (conversation("Why? A", "good"), "turn 1: reply is no label: got 'good', expected"),
        (conversation("Find x. A", "+"), "no first step"),
        (conversation("Why? A", "+", " ", "+"), "step 1 is blank"),
        (
            {"conversations": [{"role": "user", "content": "Why? A"}] * 2},
            "turn 1: turns do not alternate: got one of 'user'",
        ),
        ({"conversations": ["Why? A", "+"]}, "turn 0: turn is no dict"),
        ({"messages": []}, "no field 'conversations'"),
    ],
)
def test_a_broken_conversation_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=rf"^x:3.*{message}"):
        read_row(fields, "x:3")
