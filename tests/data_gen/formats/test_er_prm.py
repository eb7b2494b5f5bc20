from collections import Counter
from typing import Any

import pytest

from data_gen.formats.er_prm import read_row, write_row
from data_gen.formats.stepwise import RowError, StepwiseRow

TEXT = "What is 3 + 4? Step 1: 3 + 4 = 7 ки\nStep 2: 7 ки"
ROW = {"text": TEXT, "value": [0.75, 1.0]}


def test_a_value_stands_for_each_tag() -> None:
    ((row,), left_out) = read_row(ROW | {"id": 7, "value": [0.75, 1]}, "x")
    assert row == StepwiseRow("What is 3 + 4?", ("Step 1: 3 + 4 = 7", "Step 2: 7"), (0.75, 1.0), {"id": 7})
    assert write_row(row, "x") == ROW | {"id": 7}
    assert not left_out


def test_a_tag_in_the_question_has_no_step() -> None:
    ((row,), left_out) = read_row({"text": "Find x. ки\nStep 1: 7ки", "value": [0.5, 0.25]}, "x")
    assert (row.prompt, row.completions, row.labels) == ("Find x.", ("Step 1: 7",), (0.25,))
    assert left_out == Counter({"tag in the question": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": [0.75]}, "values and tags differ in number: 1 values for 2 tags"),
        ({"value": [0.75, 1.5]}, "value is none of 0 to 1: got 1.5"),
        ({"value": [0.75, True]}, "value is none of 0 to 1: got True"),
        ({"value": [0.75, None]}, "value is none of 0 to 1: got None"),
        ({"text": "What is 3 + 4? Step 1: 7"}, "no tag ки in text"),
        ({"text": f"{TEXT} more"}, "a step without a tag: 'more'"),
    ],
)
def test_a_broken_row_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=rf"^x:3: {message}"):
        read_row(ROW | changes, "x:3")


@pytest.mark.parametrize(
    "row", [StepwiseRow("Why?", ("A",), (True,)), StepwiseRow("Why?", ("A ки",), (0.5,))]
)
def test_what_the_format_cannot_say_is_refused(row: StepwiseRow) -> None:
    with pytest.raises(RowError, match=r"a step without a value|the text holds the tag"):
        write_row(row, "x")
