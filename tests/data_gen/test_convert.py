import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_gen import convert
from data_gen.files.jsonl import read_objects, write_jsonl
from data_gen.rows.layouts import PrmRow, read_rows
from data_gen.settings.errors import InputError
from prm_train.examples.targets import LabelAlgebra, step_targets

TRL = {"prompt": "Why?", "completions": ["Step 1: A", "Step 2: B"], "labels": [True, False], "task": "GSM8K"}
SHEPHERD = {
    "input": "Why? Step 1: A ки\nStep 2: B ки",
    "label": "Why? Step 1: A +\nStep 2: B -",
    "task": "GSM8K",
}
VALUES = {"prompt": "Why?", "completions": ["A", "B"], "labels": [0.75, 0.0], "root_value": 0.5}


def converted(
    folder: Path, rows: list[dict[str, Any]], source: str, target: str, *options: str, name: str = "out.jsonl"
) -> Any:
    write_jsonl(folder / "in.jsonl", rows)
    convert.main(
        [
            "--input",
            str(folder / "in.jsonl"),
            "--from",
            source,
            "--output",
            str(folder / name),
            "--to",
            target,
            *options,
        ]
    )
    return [fields for _, fields in read_objects(folder / name)]


def test_there_and_back_is_the_same(tmp_path: Path) -> None:
    assert converted(tmp_path, [SHEPHERD], "math_shepherd", "trl") == [TRL]
    assert converted(tmp_path, [TRL], "trl", "math_shepherd") == [SHEPHERD]
    tree = converted(tmp_path, [VALUES], "trl", "openr_aps_tree")
    assert converted(tmp_path, tree, "openr_aps_tree", "openr_aps") == converted(
        tmp_path, [VALUES], "trl", "openr_aps"
    )
    assert converted(tmp_path, tree, "openr_aps_tree", "trl") == [VALUES]
    conversation = converted(tmp_path, [TRL], "trl", "rlhflow")
    assert converted(tmp_path, conversation, "rlhflow", "trl") == [TRL]


def test_the_name_of_the_output_says_whether_it_is_a_list(tmp_path: Path) -> None:
    row = TRL | {"labels": [True, True]}
    (written,) = converted(tmp_path, [row], "trl", "processbench", name="out.json")
    assert (written["label"], written["task"]) == (-1, "GSM8K")
    assert (tmp_path / "out.json").read_text().startswith('[\n  {\n    "id": null')


@pytest.mark.parametrize(
    ("rows", "source", "target", "lost"),
    [
        # What stands after a first error
        ([TRL | {"labels": [False, False]}], "trl", "processbench", r"labels \(1\)"),
        # Steps get the names that they need
        ([TRL | {"completions": ["A", "B"]}], "trl", "math_shepherd", r"completions \(1\)"),
        ([VALUES | {"completions": ["A ", "B"]}], "trl", "openr_aps", r"completions \(1\)"),
        ([TRL | {"input": "x"}], "trl", "math_shepherd", r"column input \(1\)"),
        ([VALUES], "trl", "processbench", "labels are values"),
    ],
)
def test_a_loss_is_refused_by_line_and_leaves_no_file(
    tmp_path: Path, rows: list[Any], source: str, target: str, lost: str
) -> None:
    with pytest.raises(InputError, match=rf"in\.jsonl:1: .*{lost}"):
        converted(tmp_path, rows, source, target)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_lossy_writes_what_fits_and_counts_what_does_not(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", [TRL | {"labels": [False, True]}, TRL])
    config = convert.ConvertConfig(
        input=tmp_path / "in.jsonl", from_="trl", output=tmp_path / "out.json", to="processbench", lossy=True
    )
    done = convert.convert(config)
    assert (done.n_read, done.n_written, dict(done.lost)) == (2, 2, {"labels": 1})
    assert [fields["label"] for _, fields in read_objects(tmp_path / "out.json")] == [0, 1]


def test_values_become_labels_only_above_a_threshold_that_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a step whose label is not true or false"):
        converted(tmp_path, [VALUES], "trl", "math_shepherd", "--lossy", "true")
    row = VALUES | {"completions": ["Step 1: A", "Step 2: B"], "labels": [0.25, 0.0]}
    assert converted(tmp_path, [row], "trl", "trl", "--hard_above", "0.0")[0]["labels"] == [True, False]
    assert converted(tmp_path, [row], "trl", "trl", "--hard_above", "0.5")[0]["labels"] == [False, False]


def test_bad_rows_can_be_dropped_and_are_counted_by_reason(tmp_path: Path) -> None:
    cut = SHEPHERD | {"input": "Why? Step 1: A ки\nStep 2: B"}
    with pytest.raises(InputError, match=r"in\.jsonl:2: a step without a tag"):
        converted(tmp_path, [SHEPHERD, cut], "math_shepherd", "trl")
    config = convert.ConvertConfig(
        input=tmp_path / "in.jsonl",
        from_="math_shepherd",
        output=tmp_path / "out.jsonl",
        to="trl",
        bad_rows="drop",
    )
    done = convert.convert(config)
    assert (done.n_read, done.n_written, dict(done.dropped)) == (2, 1, {"a step without a tag": 1})


def prm800k(alternatives: list[tuple[str, int]], reason: str) -> dict[str, Any]:
    completions = [{"text": text, "rating": rating, "flagged": False} for text, rating in alternatives]
    steps = (
        [{"completions": completions, "human_completion": None, "chosen_completion": None}]
        if alternatives
        else []
    )
    return {"question": {"problem": "Why?"}, "label": {"steps": steps, "finish_reason": reason}}


def test_prm800k_counts_what_says_nothing_and_what_contradicts_itself(tmp_path: Path) -> None:
    rows = [
        prm800k([("A", 1)], "bad_problem"),
        prm800k([], "bad_problem"),
        prm800k([], "solution"),
        prm800k([("A", 1), ("B", 0)], "give_up"),
        prm800k([("So 7", 1), ("So 7", -1), ("So\n\n8", -1)], "found_error"),
    ]
    write_jsonl(tmp_path / "in.jsonl", rows)
    config = convert.ConvertConfig(
        input=tmp_path / "in.jsonl", from_="prm800k", output=tmp_path / "out.jsonl", to="trl"
    )
    done = convert.convert(config)
    assert (done.n_read, done.n_written, done.n_contradictions) == (5, 5, 1)
    assert done.dropped == {"finish_reason bad_problem": 2, "no steps": 1}
    assert done.finish_reasons == {"give_up": 1, "found_error": 1}
    assert done.n_steps_with == {"\n": 1, "\n\n": 1}
    kept = convert.convert(replace(config, keep_bad_problems=True))
    assert (kept.n_written, kept.dropped) == (6, {"no steps": 2})


@pytest.mark.parametrize(
    ("row", "options", "expected"),
    [
        (
            {"question": "Why?", "model_output_steps": ["A", "B"], "first": 2, "correctness": "wrong"},
            [
                "steps=model_output_steps",
                "labels=first",
                "labels_are=first_error",
                "counted_from=1",
            ],
            {"labels": [True, False], "correctness": "wrong"},
        ),
        (
            {
                "question": "Why?",
                "modified_process": ["A", "B"],
                "error_steps": [1],
                "classification": "circular",
            },
            [
                "steps=modified_process",
                "labels=error_steps",
                "labels_are=wrong_steps",
                "counted_from=1",
            ],
            {"labels": [False, True], "classification": "circular"},
        ),
        (
            {"question": "Why?", "completions": ["A", "B"], "first": "N/A"},
            ["steps=completions", "labels=first", "labels_are=first_error", "no_error=N/A"],
            {"labels": [True, True]},
        ),
        (
            {"question": "Why?", "process": "Why?\n\nA\n\nB", "label": ["+", "-"]},
            ["steps=process", "step_separator=\n\n", "labels=label"],
            {"labels": [True, False]},
        ),
    ],
)
def test_rows_under_any_names_become_training_rows(
    tmp_path: Path, row: dict[str, Any], options: list[str], expected: dict[str, Any]
) -> None:
    assert converted(tmp_path, [row], "generic", "trl", *(f"--generic.{option}" for option in options)) == [
        {"prompt": "Why?", "completions": ["A", "B"]} | expected
    ]
    assert len(read_rows(tmp_path / "out.jsonl", PrmRow)) == 1


def test_names_belong_to_generic_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="generic: got field names with from trl"):
        converted(tmp_path, [TRL], "trl", "trl", "--generic.steps", "completions")


@pytest.mark.parametrize("name", ["out.jsonl", "out.json"])
def test_values_are_read_by_training_as_they_were_written(tmp_path: Path, name: str) -> None:
    tagged = {"text": "Why? Step 1: A ки\nStep 2: B ки", "value": [0.75, 0.0], "id": 7}
    converted(tmp_path, [tagged], "er_prm", "trl", name=name)
    (row,) = read_rows(tmp_path / name, PrmRow)
    assert (row.labels, row.method, row.low, row.high) == (
        (None, None),
        ("given", "given"),
        (0.75, 0.0),
        (0.75, 0.0),
    )

    def targets(**algebra: Any) -> list[float | None]:
        return [target and target.value for target in step_targets(row, LabelAlgebra(**algebra))]

    assert (
        targets(label_kind="soft")
        == targets(label_kind="likelihood")
        == targets(label_kind="smoothed")
        == [0.75, 0.0]
    )
    assert targets(hard_threshold=0.0) == [1.0, 0.0]
    assert targets(hard_threshold=0.75) == [0.0, 0.0]
    assert targets(label_kind="soft", until_first_error=True) == [0.75, 0.0]
    assert targets() == [None, None]


def test_a_column_that_training_takes_for_its_own_is_refused(tmp_path: Path) -> None:
    for column in ({"method": "cot"}, {"problem_id": 12}, {"low": [0.5]}):
        with pytest.raises(
            InputError, match=r"in\.jsonl:1: a column that train-prm takes for its own: .*--extras false"
        ):
            converted(tmp_path, [TRL | column], "trl", "trl")
    converted(tmp_path, [TRL | {"method": "cot"}], "trl", "trl", "--extras", "false")
    assert len(read_rows(tmp_path / "out.jsonl", PrmRow)) == 1


def test_columns_can_be_left_behind(tmp_path: Path) -> None:
    (row,) = converted(tmp_path, [SHEPHERD], "math_shepherd", "trl", "--extras", "false")
    assert set(row) == {"prompt", "completions", "labels"}


def test_the_output_is_not_the_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is the input; expected another file"):
        converted(tmp_path, [TRL], "trl", "trl", name="in.jsonl")


@pytest.mark.parametrize(
    ("file", "source", "n_rows", "n_labels"),
    [
        ("formats/samples_math-shepherd.jsonl", "math_shepherd", 7, 25),
        ("formats/samples_prm800k.jsonl", "prm800k", 36, 73),
        ("processbench/gsm8k.json", "processbench", 400, 1568),
    ],
)
def test_published_files_become_training_rows(
    real_data: Path, tmp_path: Path, file: str, source: str, n_rows: int, n_labels: int
) -> None:
    output = tmp_path / "rows.jsonl"
    convert.main(
        ["--input", str(real_data / file), f"--from={source}", "--output", str(output), "--to", "trl"]
    )
    rows = read_rows(output, PrmRow)
    assert (len(rows), sum(label is not None for row in rows for label in row.labels)) == (n_rows, n_labels)


def test_published_values_survive_trl_and_become_labels_for_training(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "formats/samples_math-aps-tree.jsonl"
    assert len(converted_file(source, tmp_path / "soft.jsonl")) == 242
    hard = converted_file(source, tmp_path / "hard.jsonl", "--hard_above", "0.0")
    assert len(read_rows(tmp_path / "hard.jsonl", PrmRow)) == len(hard) == 242
    assert {label for row in hard for label in row["labels"]} == {True, False, None}


def converted_file(source: Path, output: Path, *options: str) -> list[dict[str, Any]]:
    convert.main(
        ["--input", str(source), "--from", "openr_aps_tree", "--output", str(output), "--to", "trl", *options]
    )
    return [fields for _, fields in read_objects(output)]


def test_the_command_ends_with_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps(TRL | {"labels": [1, 0]}) + "\n")
    command = [
        sys.executable,
        "-m",
        "data_gen.convert",
        "--input",
        str(tmp_path / "in.jsonl"),
        "--from",
        "trl",
        "--to",
        "trl",
    ]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out.jsonl")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        f"convert: error: {tmp_path}/in.jsonl:1: label of step 0: got 1, expected true, false"
    )
