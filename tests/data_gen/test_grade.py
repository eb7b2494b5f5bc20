"""`prm-train grade`: verdicts, pass@k and ORM rows of outputs in a file."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_gen.grade import GradeSummary, PassAtK, main
from data_gen.grading.pass_at_k import pass_at_k
from data_gen.rows.layouts import OrmRow, read_rows
from data_gen.settings.errors import InputError

SUM = {"question": "What is 3 + 4?", "answer": "7"}
PRODUCT = {"question": "What is 3 * 4?", "answer": "12"}


def graded(folder: Path, rows: list[dict[str, Any]], *words: str) -> GradeSummary:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    main(["--rows", str(folder / "rows.jsonl"), "--output", str(folder / "out"), *words])
    return GradeSummary.read(folder / "out" / "summary.json")


def test_outputs_of_one_question_are_one_problem_and_an_unknown_is_no_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[dict[str, Any]] = [
        SUM | {"samples": ["3 + 4 = 7\nAnswer: 7", "Answer: 8"]},
        PRODUCT | {"samples": ["Answer: 12", "I do not know"]},
        SUM | {"samples": ["Answer: 9", "Answer: 7.0"]},
    ]
    summary = graded(tmp_path, rows, "--layout.answer_field", "answer", "--outputs", "samples")
    assert (summary.n_problems, summary.n_outputs, summary.n_orm_rows) == (2, 6, 5)
    assert summary.verdicts == {"correct": 3, "incorrect": 2, "unknown:no_answer": 1}
    # of 4 and 2 outputs 2 and 1 are right: 1/2 and 1/2; of two 1 - 1/6 and 1 - 0
    assert summary.pass_at_k[1] == PassAtK(0.5, 0.75)
    assert summary.pass_at_k[2].value == pytest.approx((5 / 6 + 1) / 2)
    verdicts = [json.loads(line) for line in (tmp_path / "out/verdicts.jsonl").read_text().splitlines()]
    assert [(each["index"], each["answer"], each["verdict"]) for each in verdicts] == [
        (0, "7", "correct"),
        (1, "8", "incorrect"),
        (0, "12", "correct"),
        (1, None, "unknown"),
        (2, "9", "incorrect"),
        (3, "7.0", "correct"),
    ]
    labels = [(row.prompt, row.label) for row in read_rows(tmp_path / "out/orm.jsonl", OrmRow)]
    assert labels == [("What is 3 + 4?", each) for each in (True, False)] + [("What is 3 * 4?", True)] + [
        ("What is 3 + 4?", each) for each in (False, True)
    ]
    assert "0.5000 (0.7500 if every unknown were right)" in capsys.readouterr().out


def test_several_nested_fields_are_counted_apart_and_the_gold_answer_is_found_in_its_solution(
    tmp_path: Path,
) -> None:
    row: dict[str, Any] = {"question": "What is 3 + 4?", "solution": "3 + 4 = 7\n#### 7"}
    row |= {"small": {"text": "Answer: 6"}, "large": {"text": "Answer: 7"}}
    words = ["--outputs", "small.text", "large.text", "--gold_in_text", "true"]
    words += ["--layout.answer_field", "solution"]
    summary = graded(tmp_path, [row], *words)
    assert summary.verdicts_by_field == {"small.text": {"incorrect": 1}, "large.text": {"correct": 1}}
    assert {k: found.value for k, found in summary.pass_at_k.items()} == {1: 0.5, 2: 1.0}


def test_bad_rows_stop_the_command_or_are_named(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        SUM | {"samples": ["Answer: 7"]},
        PRODUCT | {"samples": []},
        SUM | {"answer": "8", "samples": "7"},
    ]
    with pytest.raises(InputError, match=r"rows\.jsonl:2: field 'samples': got \[\], expected a text or a"):
        graded(tmp_path, rows, "--layout.answer_field", "answer", "--outputs", "samples")
    summary = graded(
        tmp_path, rows, "--layout.answer_field", "answer", "--outputs", "samples", "--bad_rows", "skip"
    )
    assert summary.n_outputs == 1
    assert [each.partition("rows.jsonl")[2][:40] for each in summary.skipped] == [
        ":2: field 'samples': got [], expected a ",
        ":3: an earlier row has another gold answ",
    ]
    with pytest.raises(InputError, match="k: got 4, but a problem has 1 outputs; expected at most 1"):
        graded(
            tmp_path,
            rows,
            "--layout.answer_field",
            "answer",
            "--outputs",
            "samples",
            "--bad_rows",
            "skip",
            "--k",
            "4",
        )


def test_pass_at_k_of_small_counts() -> None:
    assert [pass_at_k(4, 1, k) for k in (1, 2, 4)] == [0.25, 0.5, 1.0]
    assert pass_at_k(4, 2, 2) == pytest.approx(5 / 6)
    assert pass_at_k(3, 0, 2) == 0
    with pytest.raises(ValueError, match="pass@5 of 1 right in 4"):
        pass_at_k(4, 1, 5)


def test_published_labels_of_real_solutions(real_data: Path, tmp_path: Path) -> None:
    names = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    rows = real_data / "samples/gsm8k_model_solutions.jsonl"
    words = ["--layout.answer_field", "ground_truth"]
    words += ["--gold_in_text", "true", "--outputs", *(f"{name}.solution" for name in names)]
    main(["--rows", str(rows), "--output", str(tmp_path / "out"), *words])
    summary = GradeSummary.read(tmp_path / "out" / "summary.json")
    assert [counts["correct"] for counts in summary.verdicts_by_field.values()] == [286, 515, 458, 742]
    assert summary.verdicts["unknown:no_answer"] == 11
    assert summary.pass_at_k[4].value == pytest.approx((1319 - 432) / 1319)


def test_pass_at_8_of_the_qwen_samples_after_grading_again(real_data: Path, tmp_path: Path) -> None:
    rows = real_data / "samples/qwen_math_cot_100.jsonl"
    words = ["--layout.answer_field", "gt", "--outputs", "code", "--k", "8"]
    main(["--rows", str(rows), "--output", str(tmp_path / "out"), *words])
    assert GradeSummary.read(tmp_path / "out" / "summary.json").pass_at_k[8].value == pytest.approx(0.97)
