import json
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from data_gen.files.jsonl import read_jsonl
from data_gen.formats.prm800k import dump_solution, parse_solution, read_row, write_row
from data_gen.formats.stepwise import RowError, StepwiseRow


def step(ratings: dict[str, int | None], chosen: int | None, human: str | None = None) -> dict[str, Any]:
    return {
        "completions": [
            {"text": text, "rating": rating, "flagged": False} for text, rating in ratings.items()
        ],
        "human_completion": None
        if human is None
        else {"text": human, "rating": None, "source": "human", "flagged": False},
        "chosen_completion": chosen,
    }


def solution(*steps: dict[str, Any]) -> dict[str, Any]:
    question = {"problem": "Why?", "ground_truth_answer": "29"}
    return {
        "labeler": "e9",
        "generation": None,
        "question": question,
        "label": {"steps": list(steps), "finish_reason": "solution"},
    }


def labeled(fields: dict[str, Any]) -> list[tuple[str, tuple[object, ...]]]:
    return [("".join(row.completions), row.labels) for row in read_row(fields, "x").rows]


def n_labels(fields: dict[str, Any]) -> int:
    return sum(label is not None for _, labels in labeled(fields) for label in labels)


TWO_THREE_TWO = solution(
    step({"A": 1, "B": -1}, 0), step({"C": -1, "D": 1, "E": 0}, 1), step({"F": -1, "G": 1}, 1)
)


def test_each_alternative_is_labeled_once_after_the_chosen_prefix() -> None:
    """The tree of 2, 3 and 2 alternatives: the chosen path A D G first, then F, C, E and B after what was
    chosen before them.
    """
    assert labeled(TWO_THREE_TWO) == [
        ("ADG", (True, True, True)),
        ("ADF", (None, None, False)),
        ("AC", (None, False)),
        ("AE", (None, True)),
        ("B", (False,)),
    ]


def test_labeled_steps_are_the_alternatives_and_not_their_combinations() -> None:
    """One solution with 2, 3 and 2 alternatives: 7 labels. Two solutions of three steps with two
    alternatives: 2 x 3 x 2 = 12.

    openr's converter promises the 12 combinations of the first, such as B C F, and gives 2: those after the
    last prefix. Nobody rated either of them: every step after B or C was written by nobody.
    """
    assert n_labels(TWO_THREE_TWO) == 7
    twos = solution(*(step({"good": 1, "bad": -1}, 0) for _ in range(3)))
    assert n_labels(twos) + n_labels(twos) == 12
    texts = {text for text, _ in labeled(TWO_THREE_TWO)}
    combinations = {"".join(parts) for parts in product("AB", "CDE", "FG")}
    assert len(combinations) == 12
    assert texts & combinations == {"ADG", "ADF"}


def test_the_example_of_the_data_sets_authors() -> None:
    """Issue 10 of openai/prm800k: steps [A, B, C], [D], [E, F], chosen A, D, E give A | B | C | A D | A D E |
    A D F.
    """
    fields = solution(step({"A": 1, "B": -1, "C": -1}, 0), step({"D": 1}, 0), step({"E": 1, "F": -1}, 0))
    prefixes = {
        text[: end + 1]
        for text, labels in labeled(fields)
        for end, label in enumerate(labels)
        if label is not None
    }
    assert prefixes == {"A", "B", "C", "AD", "ADE", "ADF"}


def test_a_written_step_is_context_and_a_neutral_one_is_right_but_told_apart() -> None:
    fields = solution(step({"A": 0}, 0), step({"B": -1}, None, human="H"), step({"C": 1}, 0))
    rows = read_row(fields, "x").rows
    assert [("".join(row.completions), row.labels) for row in rows] == [
        ("AHC", (True, None, True)),
        ("AB", (None, False)),
    ]
    assert [row.extra["ratings"] for row in rows] == [[0, None, 1], [0, -1]]


def test_where_nothing_was_chosen_the_solution_ends_and_what_follows_is_counted() -> None:
    gave_up = {"completions": None, "human_completion": None, "chosen_completion": None}
    assert labeled(solution(step({"A": 1}, 0), step({"B": -1, "C": -1}, None), gave_up)) == [
        ("AB", (True, False)),
        ("AC", (None, False)),
    ]
    reading = read_row(solution(step({"A": 1, "B": 1}, None), step({"C": 1, "D": 1}, 0)), "x")
    assert [row.completions for row in reading.rows] == [("A",), ("B",)]
    assert reading.left_out == Counter({"after a step of which nothing was chosen": 2})
    reading = read_row(solution(step({"A": 1, "B": None}, 0)), "x")
    assert ([row.completions for row in reading.rows], reading.left_out) == (
        [("A",)],
        Counter({"step without a rating": 1}),
    )


def test_the_published_rows_come_back_byte_for_byte(real_data: Path) -> None:
    rows = [fields for _, fields in read_jsonl(real_data / "formats/samples_prm800k.jsonl")]
    assert len(rows) == 6
    for fields in rows:
        assert json.dumps(dump_solution(parse_solution(fields, "x"))) == json.dumps(fields)
        rated = [each["rating"] for step in fields["label"]["steps"] for each in step["completions"] or ()]
        labels = [label for row in read_row(fields, "x").rows for label in row.labels if label is not None]
        assert len(labels) == len(rated)  # 14, 10, 11, 13, 13 and 12
        assert labels.count(False) == rated.count(-1)


def test_rows_with_one_path_are_written_and_read_again() -> None:
    row = StepwiseRow(
        "Why?",
        ("A", "B"),
        (True, False),
        {"ratings": [0, -1], "labeler": "e9", "question": {"ground_truth_answer": "29"}},
    )
    written = write_row(row, "x")
    assert [each["completions"][0]["rating"] for each in written["label"]["steps"]] == [0, -1]
    assert read_row(written, "x").rows == (row,)
    with pytest.raises(RowError, match="labels are values"):
        write_row(StepwiseRow("Why?", ("A",), (0.5,)), "x")


def broken(**changes: Any) -> dict[str, Any]:
    return solution(step({"A": 1, "B": -1}, 0) | changes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (broken(chosen_completion=2), "step 0: chosen_completion is no alternative: got 2 of 2"),
        (broken(chosen_completion=-1), "got -1 of 2"),
        (broken(chosen_completion=True), "field 'chosen_completion' is no int or null: got bool"),
        (broken(completions=None), "got 0 of 0"),
        (broken(completions=[{"text": "A", "rating": 2}]), "rating is none of 1, 0, -1, null: got 2"),
        (broken(completions=[{"text": "A", "rating": 1.0}]), "field 'rating' is no int or null: got float"),
        (broken(completions=[{"text": " ", "rating": 1}]), "blank alternative"),
        (broken(completions=["A"]), "alternative is no dict"),
        ({"question": {"problem": "Why?"}, "label": {}}, "no field 'steps'"),
        ({"question": "Why?", "label": {"steps": []}}, "field 'question' is no dict"),
    ],
)
def test_a_broken_row_is_refused_with_its_step(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=rf"^x:9.*{message}"):
        read_row(fields, "x:9")
