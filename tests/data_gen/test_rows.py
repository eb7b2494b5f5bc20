import json
from dataclasses import asdict
from pathlib import Path

import pytest

from data_gen.config import InputError
from data_gen.problems import question_id
from data_gen.records import CORRECT, INCORRECT, GradedSolution, LabeledSolution, Problem, Solution, StepEstimate, Verdict, unknown
from data_gen.rows import OrmRow, PrmRow, features, orm_rows, prm_rows, read_rows, write_rows

PROBLEMS = {name: Problem(name, f"Question {name}?", "1 2") for name in ("a", "b")}
NOTHING = StepEstimate()


def graded(problem_id: str, index: int, text: str, verdict: Verdict) -> GradedSolution:
    return GradedSolution(Solution(problem_id, index, text), "1 2", verdict)


def labeled(index: int, steps: tuple[str, ...], estimates: tuple[StepEstimate, ...], labels: tuple[bool | None, ...]) -> LabeledSolution:
    return LabeledSolution(graded("a", index, "\n".join(steps), INCORRECT), steps, estimates, labels)


ESTIMATES = (StepEstimate(1, 3, 0, "rollouts", "first_success"), StepEstimate(0, 8, 2, "rollouts", "first_success"), NOTHING)
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
)


def test_a_labeled_solution_becomes_a_row_with_its_evidence() -> None:
    rows, left_out = prm_rows([labeled(0, ROW.completions, ESTIMATES, (True, False, None))], PROBLEMS)
    assert (rows, left_out) == ([ROW], {})


def test_prm_rows_leave_out_duplicates_and_solutions_without_a_label_and_count_them() -> None:
    first = labeled(0, ("x", "y"), (NOTHING, NOTHING), (True, None))
    again = labeled(1, ("x", "y"), (NOTHING, NOTHING), (False, None))
    bare = labeled(2, ("z",), (NOTHING,), (None,))
    rows, left_out = prm_rows([first, again, bare], PROBLEMS)
    assert [(row.completions, row.labels) for row in rows] == [(("x", "y"), (True, None))]
    assert left_out == {"duplicate": 1, "no_label": 1}


def test_orm_rows_never_make_an_unknown_a_negative_label() -> None:
    solutions = [
        graded("a", 0, "right", CORRECT),
        graded("a", 1, "right", CORRECT),
        graded("b", 0, "right", INCORRECT),  # the same text for another question is another row
        graded("a", 2, "cut", unknown("truncated")),
        graded("a", 3, "long", unknown("timeout")),
        graded("b", 1, "cut", unknown("truncated")),
    ]
    rows, left_out = orm_rows(solutions, PROBLEMS)
    assert rows == [OrmRow("a", "Question a?", "right", True), OrmRow("b", "Question b?", "right", False)]
    assert left_out == {"duplicate": 1, "unknown: truncated": 2, "unknown: timeout": 1}


def test_a_solution_of_an_unknown_problem_is_refused() -> None:
    with pytest.raises(InputError, match="solution 4 of problem c: not one of the 2 problems"):
        orm_rows([graded("c", 4, "text", CORRECT)], PROBLEMS)


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "prm.jsonl"
    write_rows(path, [ROW, ROW])
    assert read_rows(path, PrmRow) == [ROW, ROW]
    orm = [OrmRow("a", "Question a?", "1\n2 \u2028 é", True)]
    write_rows(path, orm)
    assert read_rows(path, OrmRow) == orm


def test_public_sets_load_without_ids_and_evidence(tmp_path: Path) -> None:
    path = tmp_path / "public.jsonl"
    stepwise = {
        "prompt": "Which is larger, 9.8 or 9.11?",
        "completions": ["Fractions: .8, .11.", "9.11 is larger."],
        "labels": [True, False],
    }
    path.write_text(json.dumps(stepwise) + "\n")
    (row,) = read_rows(path, PrmRow)
    assert (row.prompt, row.completions, row.labels) == (stepwise["prompt"], tuple(stepwise["completions"]), (True, False))
    assert row.problem_id == question_id("Which is larger, 9.8 or 9.11?")
    assert (row.n_rollouts, row.stopping, row.method) == ((0, 0), ("fixed", "fixed"), ("none", "none"))
    path.write_text('{"prompt": "The sky is", "completion": " blue.", "label": true, "source": "web"}\n')
    assert read_rows(path, OrmRow) == [OrmRow(question_id("The sky is"), "The sky is", " blue.", True)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [True]}, "no PrmRow: 1 labels for 3 completions; expected one for each"),
        ({"labels": [True, -100, None]}, r"labels.1: got -100, input should be a valid boolean"),  # the ignore index is no label
        ({"labels": [True, 0.5, None]}, r"labels.1: got 0.5"),
        ({"labels": None}, r"labels: got None, input should be a valid array"),
        ({"completions": "x = 1"}, r"completions: got 'x = 1'"),
        ({"n_correct": [4, 0, 0]}, "step 0: 4 correct of 3 rollouts"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = tmp_path / "prm.jsonl"
    good = json.loads(json.dumps(asdict(ROW)))
    path.write_text(json.dumps(good) + "\n" + json.dumps(good | changes) + "\n")
    with pytest.raises(InputError, match=rf"prm\.jsonl:2: .*{message}"):
        read_rows(path, PrmRow)


def test_a_missing_field_is_named_with_the_fields_present(tmp_path: Path) -> None:
    path = tmp_path / "orm.jsonl"
    path.write_text('{"prompt": "q", "response": "a"}\n')
    with pytest.raises(InputError, match=r"orm\.jsonl:1: no OrmRow: no field completion; fields present: prompt, response"):
        read_rows(path, OrmRow)


def test_a_dataset_of_rows_keeps_null_labels_and_types() -> None:
    from datasets import Dataset

    unlabelled = PrmRow("b", "Question b?", ("x",), (None,), (0,), (0,), (0,), ("fixed",), ("none",))
    dataset = Dataset.from_list([asdict(unlabelled), asdict(ROW)], features=features(PrmRow))
    assert dataset[0]["labels"] == [None]
    assert dataset[1]["labels"] == [True, False, None]
    assert dataset.features["labels"].feature.dtype == "bool"
    orm = OrmRow("a", "Question a?", "text", False)
    assert Dataset.from_list([asdict(orm)], features=features(OrmRow))[0] == asdict(orm)
