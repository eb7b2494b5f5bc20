import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from data_gen.files.jsonl import read_jsonl
from data_gen.formats.openr_aps import (
    dump_flat,
    dump_tree,
    parse_flat,
    parse_tree,
    read_flat_row,
    read_tree_row,
    write_flat_row,
    write_tree_row,
)
from data_gen.formats.stepwise import Reading, RowError, StepwiseRow


def flat(*prefixes: tuple[str, float]) -> dict[str, Any]:
    steps = [{"solution_prefix": text, "mc_value": value} for text, value in prefixes]
    return {"question": "Why?", "final_answer": "3", "reasoning_steps": steps, "question_id": 0}


def tree(text: str, value: float, *children: dict[str, Any]) -> dict[str, Any]:
    return {"text": text, "mc_value": value, "children": list(children)}


def searched(root: dict[str, Any]) -> dict[str, Any]:
    return {"question": "Why?", "final_answer": "3", "reasoning_steps": root, "question_id": 0}


def shown(reading: Reading) -> list[tuple[tuple[str, ...], tuple[object, ...]]]:
    return [(row.completions, row.labels) for row in reading.rows]


EXTRA = {"final_answer": "3", "question_id": 0, "root_value": 0.75}
FLAT = flat(
    ("Why?", 0.75),
    ("Why?\n\n\nA", 0.5),
    ("Why?\n\n\nA\n\nB", 0.0),
    ("Why?\n\n\nA\n\n C\n\nD", 1.0),
    ("Why?\n\nAB", 0.25),
)
TREE = searched(tree("Why?", 0.75, tree("A", 0.5, tree("B", 0.0), tree("C\n\nD", 1.0)), tree("AB", 0.25)))


def test_flat_and_tree_give_the_same_paths_with_each_value_once() -> None:
    expected = [(("A", "B"), (0.5, 0.0)), (("A", "C\n\nD"), (None, 1.0)), (("AB",), (0.25,))]
    for reading in (read_flat_row(FLAT, "x"), read_tree_row(TREE, "x")):
        assert shown(reading) == expected
        assert [row.extra for row in reading.rows] == [EXTRA] * 3
        assert {row.prompt for row in reading.rows} == {"Why?"}  # the question is no part of a step
        assert not reading.left_out


def test_a_text_is_below_another_only_after_a_blank_line() -> None:
    """'x = 1' begins 'x = 12' and is no step before it; a tab sorts before a newline and must not hide a
    parent.
    """
    reading = read_flat_row(
        flat(
            ("Why?\n\nx = 1", 0.5),
            ("Why?\n\nx = 12", 1.0),
            ("Why?\n\nx = 1\tor 2", 0.0),
            ("Why?\n\nx = 1\n\ny", 0.1),
        ),
        "x",
    )
    assert shown(reading) == [(("x = 1", "y"), (0.5, 0.1)), (("x = 12",), (1.0,)), (("x = 1\tor 2",), (0.0,))]


def test_a_prefix_measured_twice_keeps_both_values() -> None:
    reading = read_flat_row(flat(("Why?", 0.5), ("Why?\n\nA", 0.0), ("Why?\n\nA", 0.25), ("Why?", 0.75)), "x")
    assert shown(reading) == [(("A",), (0.0,)), (("A",), (0.25,))]
    assert reading.rows[0].extra["root_value"] == 0.5
    assert reading.left_out == Counter({"value of the question, measured again": 1})


def test_a_rollout_that_ended_where_it_began_is_no_step() -> None:
    reading = read_tree_row(
        searched(tree("Why?", 0.5, tree(" ", 1.0), tree("A", 0.5, tree("\n", 1.0, tree("B", 1.0))))), "x"
    )
    assert shown(reading) == [(("A", "B"), (0.5, 1.0))]
    assert reading.left_out == Counter({"blank step": 2})
    assert read_flat_row(flat(("Why?", 0.5)), "x") == Reading((), Counter({"question without steps": 1}))


@pytest.mark.parametrize(
    ("fields", "parse", "dump"), [(FLAT, parse_flat, dump_flat), (TREE, parse_tree, dump_tree)]
)
def test_source_rows_come_back_byte_for_byte(fields: dict[str, Any], parse: Any, dump: Any) -> None:
    assert json.dumps(dump(parse(fields, "x"))) == json.dumps(fields)


def test_the_published_rows_come_back_byte_for_byte(real_data: Path) -> None:
    """90, 13 and 42 measured prefixes; 143, 90 and 24 nodes: one of each is the question itself."""
    found: dict[str, list[int]] = {"math-aps": [], "math-aps-tree": []}
    for _, fields in read_jsonl(real_data / "formats/samples_math-aps.jsonl"):
        assert json.dumps(dump_flat(parse_flat(fields, "x"))) == json.dumps(fields)
        found["math-aps"].append(
            sum(label is not None for row in read_flat_row(fields, "x").rows for label in row.labels)
        )
    for _, fields in read_jsonl(real_data / "formats/samples_math-aps-tree.jsonl"):
        assert json.dumps(dump_tree(parse_tree(fields, "x"))) == json.dumps(fields)
        found["math-aps-tree"].append(
            sum(label is not None for row in read_tree_row(fields, "x").rows for label in row.labels)
        )
    assert found == {"math-aps": [89, 12, 41], "math-aps-tree": [142, 89, 23]}


def test_one_path_is_written_in_both_formats_and_read_again() -> None:
    row = StepwiseRow("Why?", ("A", "B\n\nC"), (0.5, 1.0), EXTRA)
    assert write_flat_row(row, "x") == flat(("Why?", 0.75), ("Why?\n\nA", 0.5), ("Why?\n\nA\n\nB\n\nC", 1.0))
    assert write_tree_row(row, "x") == searched(tree("Why?", 0.75, tree("A", 0.5, tree("B\n\nC", 1.0))))
    assert read_flat_row(write_flat_row(row, "x"), "x").rows == (row,)
    assert read_tree_row(write_tree_row(row, "x"), "x").rows == (row,)


def test_a_label_is_no_value() -> None:
    with pytest.raises(RowError, match="a step without a value"):
        write_flat_row(StepwiseRow("Why?", ("A",), (True,)), "x")
    with pytest.raises(RowError, match="no value for the question"):
        write_tree_row(StepwiseRow("Why?", ("A",), (0.5,)), "x")


def deep(n_steps: int) -> dict[str, Any]:
    node = tree("end", 1.0)
    for _ in range(n_steps):
        node = tree("step", 0.5, node)
    return node


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (flat(("How?\n\nA", 0.5)), "a prefix does not begin with the question: 'How"),
        (flat(("Why? A", 0.5)), "a prefix does not begin with the question"),
        (flat(("Why?\n\nA", 1.5)), "prefix 0: mc_value is no fraction: got 1.5"),
        (flat(("Why?\n\nA", True)), "prefix 0: field 'mc_value' is no float or int: got bool"),
        (flat(("Why?\n\nA", 0.5)) | {"reasoning_steps": ["Why?"]}, "not a solution_prefix and an mc_value"),
        (searched(tree("How?", 0.5)), "the root is not the question"),
        (searched(tree("Why?", 0.5, {"text": "A", "mc_value": 0.5})), "not a text, an mc_value and children"),
        (searched(tree("Why?", 0.5, tree("A", -0.1))), "mc_value is no fraction: got -0.1"),
        (searched(deep(400)), "a tree deeper than 300 steps"),
    ],
)
def test_a_broken_row_is_refused(fields: dict[str, Any], message: str) -> None:
    read = read_flat_row if isinstance(fields["reasoning_steps"], list) else read_tree_row
    with pytest.raises(RowError, match=rf"^x:2.*{message}"):
        read(fields, "x:2")
