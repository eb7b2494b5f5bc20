from pathlib import Path
from typing import Any

import pytest

from data_gen.files.jsonl import read_objects, write_objects
from data_gen.formats.processbench import read_row, write_row
from data_gen.formats.stepwise import RowError, StepwiseRow

ROW = {
    "id": "gsm8k-0",
    "generator": "m",
    "problem": "Why?",
    "steps": ["A", "B", "C"],
    "final_answer_correct": False,
    "label": 1,
}


@pytest.mark.parametrize(
    ("label", "labels"), [(1, (True, False, None)), (0, (False, None, None)), (-1, (True, True, True))]
)
def test_a_first_error_becomes_labels_and_comes_back(label: int, labels: tuple[bool | None, ...]) -> None:
    ((row,), _) = read_row(ROW | {"label": label}, "x")
    assert row.labels == labels
    assert write_row(row, "x") == ROW | {"label": label}


@pytest.mark.parametrize(
    ("name", "n_erroneous", "n_correct"),
    [("gsm8k", 207, 193), ("math", 594, 406), ("olympiadbench", 661, 339), ("omnimath", 759, 241)],
)
def test_the_published_files_come_back_byte_for_byte(
    real_data: Path, tmp_path: Path, name: str, n_erroneous: int, n_correct: int
) -> None:
    source = real_data / f"processbench/{name}.json"
    rows = [
        row for number, fields in read_objects(source) for row in read_row(fields, f"{name}:{number}").rows
    ]
    assert (sum(False in row.labels for row in rows), sum(False not in row.labels for row in rows)) == (
        n_erroneous,
        n_correct,
    )
    write_objects(tmp_path / "again.json", (write_row(row, name) for row in rows))
    assert (tmp_path / "again.json").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": 3}, "label is no step: first error: got 3 for 3 steps"),
        ({"label": -2}, "got -2"),
        ({"label": True}, "field 'label' is no int: got bool"),
        ({"label": 1.0}, "field 'label' is no int: got float"),
        ({"steps": []}, "no steps|got 1 for 0 steps"),
        ({"steps": ["A", 2]}, "field 'steps' is no list of str: item 1 is int"),
        ({"final_answer_correct": "no"}, "field 'final_answer_correct' is no bool or null"),
    ],
)
def test_a_broken_row_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=rf"^x:5: .*({message})"):
        read_row(ROW | changes, "x:5")


def test_no_first_error_is_made_up() -> None:
    with pytest.raises(RowError, match="a step without a label before the first error"):
        write_row(StepwiseRow("Why?", ("A", "B"), (None, False)), "x")
    with pytest.raises(RowError, match="labels are values"):
        write_row(StepwiseRow("Why?", ("A",), (0.5,)), "x")
    assert write_row(StepwiseRow("Why?", ("A",), (False,)), "x")["final_answer_correct"] is None
