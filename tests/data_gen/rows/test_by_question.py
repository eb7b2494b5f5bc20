from pathlib import Path

import pytest

from data_gen.files.run_folder import write_records
from data_gen.records.solutions import GradedSolution, LabeledSolution, Problem, Solution, StepEstimate
from data_gen.records.verdicts import CORRECT
from data_gen.rows.by_question import RecordsByQuestion, read_problems
from data_gen.settings.errors import InputError

PROBLEMS = {name: Problem(name, f"Question {name}?", "1") for name in "abc"}


def solution(name: str, index: int, text: str = "line one\nline two \u2028 é") -> GradedSolution:
    return GradedSolution(Solution(name, index, text), "1", CORRECT)


def test_solutions_of_a_question_come_together_from_all_places(tmp_path: Path) -> None:
    one = [solution("a", 0), solution("a", 1), solution("b", 0), solution("a", 2)]
    two = [solution("b", 7), solution("a", 8)]
    write_records(tmp_path / "one.jsonl", GradedSolution, one)
    write_records(tmp_path / "two.jsonl", GradedSolution, two)
    records = RecordsByQuestion([tmp_path / "one.jsonl", tmp_path / "two.jsonl"], GradedSolution, PROBLEMS)
    assert records.of(PROBLEMS["a"]) == [one[0], one[1], one[3], two[1]]
    assert records.of(PROBLEMS["b"]) == [one[2], two[0]]
    assert records.of(PROBLEMS["c"]) == []


def test_labeled_solutions_are_found_by_their_problem(tmp_path: Path) -> None:
    labeled = LabeledSolution(solution("b", 3), ("line one", "line two"), (StepEstimate(),) * 2, (True, None))
    write_records(tmp_path / "labels.jsonl", LabeledSolution, [labeled])
    assert RecordsByQuestion([tmp_path / "labels.jsonl"], LabeledSolution, PROBLEMS).of(PROBLEMS["b"]) == [
        labeled
    ]


def test_bad_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "solutions.jsonl"
    write_records(path, GradedSolution, [solution("a", 0), solution("d", 0)])
    with pytest.raises(
        InputError, match=r"solutions\.jsonl:2: problem d: not one of the 3 problems of these runs"
    ):
        RecordsByQuestion([path], GradedSolution, PROBLEMS)
    good = path.read_text().split("\n")[0]
    path.write_text(f"{good}\n{{}}\n")
    with pytest.raises(
        InputError, match=r"solutions\.jsonl:2: not a GradedSolution: solution: Field required"
    ):
        RecordsByQuestion([path], GradedSolution, PROBLEMS)
    path.write_text(good + "\n" + good.replace('"index":0', '"index":"first"') + "\n")
    records = RecordsByQuestion([path], GradedSolution, PROBLEMS)
    with pytest.raises(
        InputError, match=r"solutions\.jsonl:2: not a GradedSolution: solution\.index: .* got 'first'"
    ):
        records.of(PROBLEMS["a"])
    with pytest.raises(InputError, match=r"missing\.jsonl: no such file"):
        RecordsByQuestion([tmp_path / "missing.jsonl"], GradedSolution, PROBLEMS)


def test_one_id_names_one_problem(tmp_path: Path) -> None:
    for name, question in (("one", "Question a?"), ("two", "Another?")):
        write_records(tmp_path / name / "problems.jsonl", Problem, [Problem("a", question, "1")])
    assert read_problems([tmp_path / "one", tmp_path / "one"]) == {"a": Problem("a", "Question a?", "1")}
    with pytest.raises(InputError, match="two: problem a is another problem in an earlier run"):
        read_problems([tmp_path / "one", tmp_path / "two"])
