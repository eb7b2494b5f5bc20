import json

import pytest

from data_gen.formats.stepwise import RowError, StepwiseRow
from data_gen.formats.trl_stepwise import read_row, write_row

ROW = {"prompt": "What is 2 + 3 * 4?", "completions": ["3 * 4 = 12", "2 + 12 = 15"], "labels": [True, False]}


@pytest.mark.parametrize(
    "fields",
    [
        ROW,
        ROW | {"labels": [0.75, 0.0]},
        ROW | {"labels": [True, None]},
        ROW | {"problem_id": "p1", "n_rollouts": [8, 8], "source": None},
    ],
)
def test_rows_come_back_byte_for_byte_with_their_other_columns(fields: dict[str, object]) -> None:
    ((row,), left_out) = read_row(fields, "x")
    assert json.dumps(write_row(row, "x")) == json.dumps(fields)
    assert not left_out


@pytest.mark.parametrize("label", [-100, -1, 0, 1, 2, "true", float("nan"), 1.2, [True]])
def test_what_is_no_label_never_counts_as_right(label: object) -> None:
    """bool(-100) is True: a cast once made every masked step of a set right."""
    with pytest.raises(RowError, match=r"rows\.jsonl:7: label of step 1: got"):
        read_row(ROW | {"labels": [True, label]}, "rows.jsonl:7")


def test_a_column_named_like_one_of_the_three_does_not_replace_it() -> None:
    assert write_row(StepwiseRow("q", ("a",), (True,), {"labels": "x", "task": "GSM8K"}), "x") == {
        "prompt": "q",
        "completions": ["a"],
        "labels": [True],
        "task": "GSM8K",
    }
