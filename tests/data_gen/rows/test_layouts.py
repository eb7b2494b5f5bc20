import json
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from data_gen.problems.sources import question_id
from data_gen.records.chats import Message
from data_gen.records.verdicts import VerdictKind
from data_gen.rows.layouts import (
    ROW_TYPES,
    AnyRow,
    DistillRow,
    OrmHistoryRow,
    OrmPair,
    OrmRow,
    PrmRow,
    RevisionRow,
    features,
    read_rows,
    write_rows,
)
from data_gen.settings.errors import InputError

ROW = PrmRow(
    problem_id="a",
    prompt="Question a?",
    completions=("x = 1", "y = 3", "Answer: 1 3"),
    labels=(True, False, None),
    n_correct=(1, 0, 0),
    n_rollouts=(3, 8, 0),
    n_unknown=(0, 2, 0),
    stopping=("first_success", "first_success", "fixed"),
    method=("rollouts", "rollouts", "none"),
    low=(0.1, 0.0, 0.0),
    high=(0.9, 0.3, 1.0),
)
QUESTION = Message("user", "Question a?")
CHAT = (QUESTION, Message("assistant", "wrong"), QUESTION)
RIGHT = (Message("assistant", "right"),)
ROWS: list[AnyRow] = [
    ROW,
    OrmRow("a", "Question a?", "1\n2 \u2028 é", True),
    OrmPair("a", "Question a?", "right", "wrong"),
    OrmHistoryRow("a", CHAT, RIGHT, True, 1, (3, 0)),
    OrmHistoryRow("a", CHAT, RIGHT, True, 1, (3, 0), "a?"),
    RevisionRow("a", CHAT, RIGHT, "revision", 1, 5, (3, 0)),
    RevisionRow("a", (QUESTION,), RIGHT, "first_attempt", 0, None, (0,)),
    DistillRow("a", "Question a?", "right", "beam", 0.5, VerdictKind.CORRECT),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_rows_come_back_as_they_were_written(tmp_path: Path, row: AnyRow) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [row, row])
    assert read_rows(path, type(row)) == [row, row]


def test_every_kind_of_row_has_its_type() -> None:
    expected = {
        "prm": PrmRow,
        "orm": OrmRow,
        "orm_pairs": OrmPair,
        "orm_history": OrmHistoryRow,
        "revision": RevisionRow,
        "distill": DistillRow,
    }
    assert expected == ROW_TYPES


def test_public_sets_load_without_ids_and_evidence(tmp_path: Path) -> None:
    path = tmp_path / "public.jsonl"
    stepwise = {
        "prompt": "Which is larger, 9.8 or 9.11?",
        "completions": ["Fractions: .8, .11.", "9.11 is larger."],
        "labels": [True, False],
    }
    path.write_text(json.dumps(stepwise) + "\n")
    (row,) = read_rows(path, PrmRow)
    assert (row.prompt, row.completions, row.labels) == (
        stepwise["prompt"],
        tuple(stepwise["completions"]),
        (True, False),
    )
    assert row.problem_id == question_id("Which is larger, 9.8 or 9.11?")
    assert (row.n_rollouts, row.stopping, row.method) == ((0, 0), ("fixed", "fixed"), ("none", "none"))
    assert (row.low, row.high) == ((0.0, 0.0), (1.0, 1.0))
    path.write_text('{"prompt": "The sky is", "completion": " blue.", "label": true, "source": "web"}\n')
    assert read_rows(path, OrmRow) == [OrmRow(question_id("The sky is"), "The sky is", " blue.", True)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [True]}, "no PrmRow: 1 labels for 3 completions; expected one for each"),
        # The ignore index is no label
        ({"labels": [True, -100, None]}, r"labels.1: got -100, input should be a valid boolean"),
        ({"labels": [True, 0.5, None]}, r"labels.1: got 0.5"),
        ({"labels": None}, r"labels: got None, input should be a valid array"),
        ({"completions": "x = 1"}, r"completions: got 'x = 1'"),
        ({"n_correct": [4, 0, 0]}, "step 0: 4 correct of 3 rollouts"),
        ({"n_rollouts": [3, 10**30, 0]}, "step 1: 0 correct of 10*.* rollouts"),
        ({"n_unknown": [3, 2, 0]}, "step 0: 3 unknown and 1 correct of 3 rollouts; expected no more in all"),
        ({"n_unknown": [-1, 2, 0]}, "step 0: -1 unknown"),
        ({"low": [0.1, 0.4, 0.0]}, r"step 1: interval \[0.4, 0.3\]; expected 0 <= low <= high <= 1"),
        ({"high": [0.9, 0.3]}, "2 high for 3 completions"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = tmp_path / "prm.jsonl"
    good = json.loads(json.dumps(asdict(ROW)))
    path.write_text(json.dumps(good) + "\n" + json.dumps(good | changes) + "\n")
    with pytest.raises(InputError, match=rf"prm\.jsonl:2: .*{message}"):
        read_rows(path, PrmRow)


def test_a_missing_field_is_named_with_the_fields_present(tmp_path: Path) -> None:
    path = tmp_path / "orm.jsonl"
    path.write_text('{"prompt": "q", "response": "a"}\n')
    with pytest.raises(
        InputError, match=r"orm\.jsonl:1: no OrmRow: no field completion; fields present: prompt, response"
    ):
        read_rows(path, OrmRow)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"prompt": [{"role": "system", "content": "x"}], "question": ""},
            "prompt: got turns of system, expected one of the user",
        ),
        ({"kind": "second"}, "kind: got 'second', input should be 'revision', 'first_attempt' or 'keep'"),
        ({"prompt": "Question a?"}, "prompt: got 'Question a\\?', input should be a valid array"),
        ({"completion": [{"role": "tool", "content": "x"}]}, "completion.0.role: got 'tool'"),
    ],
)
def test_a_bad_chat_is_named_by_file_and_line(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = tmp_path / "revision.jsonl"
    path.write_text(json.dumps(asdict(ROWS[5]) | changes) + "\n")
    with pytest.raises(InputError, match=rf"revision\.jsonl:1: no RevisionRow: {message}"):
        read_rows(path, RevisionRow)


def test_a_dataset_of_rows_keeps_null_labels_and_types() -> None:
    from datasets import Dataset

    unlabeled = PrmRow("b", "Question b?", ("x",), (None,), (0,), (0,), (0,), ("fixed",), ("none",))
    dataset = Dataset.from_list([asdict(unlabeled), asdict(ROW)], features=features(PrmRow))
    assert dataset[0]["labels"] == [None]
    assert dataset[0]["high"] == [1.0]
    assert dataset[1]["labels"] == [True, False, None]
    assert dataset[1]["low"] == [0.1, 0.0, 0.0]
    assert dataset.features["labels"].feature.dtype == "bool"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_every_kind_of_row_makes_a_dataset(row: AnyRow) -> None:
    from datasets import Dataset

    kind = type(row)
    assert list(features(kind)) == [field.name for field in fields(kind)]
    stored = Dataset.from_list([asdict(row)], features=features(kind))[0]
    assert json.dumps(stored) == json.dumps(asdict(row))
