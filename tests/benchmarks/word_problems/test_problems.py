"""How problems are divided: on written-out rows, and on the published ones."""

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.word_problems.equations import template_of
from benchmarks.word_problems.problems import (
    FILES,
    Sizes,
    read_mawps,
    read_svamp,
    write_gsm8k,
    write_word_problems,
)
from data_gen.answers.find import find_answer
from data_gen.settings.errors import InputError


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_data(folder: Path) -> Path:
    """24 templates with two variants each, half of them of two operations, and ten SVAMP problems."""
    words = [
        f"{a} {b}"
        for a in ("red", "blue", "old", "new")
        for b in ("pens", "cups", "nuts", "hats", "caps", "bags")
    ]
    rows = []
    for index, word in enumerate(words):
        for name, number in (("Ann", 3), ("Bob", 5)):
            question = f"{name} has {number} {word} and gets {index} more"
            if index % 2:
                equation, answer = f"* 2 + {number} {index}", 2 * (number + index)
                question += " , then twice as many"
            else:
                equation, answer = f"+ {number} {index}", number + index
            rows.append({"question": question, "equation": equation, "answer": str(answer)})
    (folder / "svamp").mkdir(parents=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "svamp" / "mawps_asdiv_train.jsonl").write_text(lines)
    svamp = [
        {"Body": f"Cy had {n} dogs.", "Question": "How many now?", "Answer": float(n), "Equation": ""}
        for n in range(10)
    ]
    (folder / "svamp" / "svamp.json").write_text(json.dumps(svamp))
    return folder


def test_variants_of_a_problem_stand_in_one_file_and_few_of_them_in_a_test(tmp_path: Path) -> None:
    sizes = Sizes(n_test=4, n_svamp=3, n_validation=2, n_train=4, n_train_simple=4, n_solutions_simple=10)
    write_word_problems(write_data(tmp_path / "data"), tmp_path, sizes)
    found = {name: rows_of(tmp_path / f"{name}.jsonl") for name in FILES}
    assert {name: len(rows) for name, rows in found.items()} == {
        **{"mawps_asdiv": 4, "svamp": 3, "validation": 2},
        **{"train": 8, "solutions": 24},  # 12 of two operations and 10 of one, and those left of two
    }
    templates = [{template_of(row["question"]) for row in rows} for rows in found.values()]
    assert sum(map(len, templates)) == len(set().union(*templates))
    assert all(set(row) == {"question", "answer"} for row in found["train"])


def test_unusable_rows_are_counted(tmp_path: Path) -> None:
    rows = [
        {"question": "a", "equation": "+ 1 2", "answer": "3"},
        {"question": "a", "equation": "+ 1 2", "answer": "3"},
        {"question": "b", "equation": "+ 1 2", "answer": "4"},
        {"question": "c", "equation": "+ 1 2", "answer": "3"},
        {"question": "c", "equation": "+ 2 2", "answer": "4"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    left_out = Counter[str]()
    assert [each.question for each in read_mawps(tmp_path / "rows.jsonl", left_out)] == ["a"]
    assert left_out == {
        "a question that was there before": 1,
        "an answer that is not that of the equation": 1,
        "a question with two answers": 2,
    }


def test_answers_of_svamp_are_written_to_the_last_digit(tmp_path: Path) -> None:
    answers = [7.0, 1054997.0, 12345.67, 0.5, 1 / 3]
    rows = [{"Body": f"Cy had {a} dogs.", "Question": "How many?", "Answer": a} for a in answers]
    (tmp_path / "svamp.json").write_text(json.dumps(rows))
    left_out = Counter[str]()
    found = read_svamp(tmp_path / "svamp.json", 9, left_out)
    assert {row["answer"] for row in found} == {"7", "1054997", "12345.67", "0.5"}
    assert left_out == {"SVAMP: numbers of more than 4 decimals": 1}


def test_too_few_problems_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mawps_asdiv: 24 problems of two or more operations, expected 300"):
        write_word_problems(write_data(tmp_path / "data"), tmp_path, Sizes())


def test_the_published_problems_make_the_files_of_the_analysis(tmp_path: Path, real_data: Path) -> None:
    if not (real_data / "svamp").is_dir():
        pytest.skip("no svamp/ in PRM_TRAIN_DATA")
    write_word_problems(real_data, tmp_path, Sizes())
    found = {name: rows_of(tmp_path / f"{name}.jsonl") for name in FILES}
    assert {name: len(rows) for name, rows in found.items()} == {
        **{"solutions": 1156, "train": 361, "validation": 60, "mawps_asdiv": 300, "svamp": 300}
    }
    assert all(find_answer(row["solution"]) == row["answer"] for row in found["solutions"])
    questions = Counter(row["question"] for rows in found.values() for row in rows)
    assert max(questions.values()) == 1


def test_gsm8k_is_divided_without_calculator_notes(tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    for name, n in (("train", 6), ("test", 5)):
        rows = [
            {"question": f"{name} {i}", "answer": f"So {i}*2 = <<{i}*2={2 * i}>>{2 * i}.\n#### 1,00{i}"}
            for i in range(n)
        ]
        if name == "train":
            rows.insert(3, {"question": "test 77", "answer": "#### 1"})  # a variant of what is tested
        (tmp_path / "gsm8k" / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    write_gsm8k(tmp_path, tmp_path, n_validation=2, n_test=3)
    left_out = json.loads((tmp_path / "counts.json").read_text())["left_out"]
    assert left_out == {"variant of a test problem": 1}
    assert rows_of(tmp_path / "solutions.jsonl") == [
        {"question": "train 2", "answer": "1002", "solution": "So 2*2 = 4.\n#### 1,002"},
        {"question": "train 3", "answer": "1003", "solution": "So 3*2 = 6.\n#### 1,003"},
    ]
    assert [row["question"] for row in rows_of(tmp_path / "train.jsonl")] == ["train 4", "train 5"]
    assert [row["question"] for row in rows_of(tmp_path / "validation.jsonl")] == ["train 0", "train 1"]
    assert len(rows_of(tmp_path / "gsm8k.jsonl")) == 3
    write_gsm8k(tmp_path, tmp_path, n_validation=2, n_test=3, n_train=1, n_shown=2)
    assert [row["question"] for row in rows_of(tmp_path / "solutions.jsonl")] == ["train 2", "train 3"]
    assert [row["question"] for row in rows_of(tmp_path / "train.jsonl")] == ["train 5"]
