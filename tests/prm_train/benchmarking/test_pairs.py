"""`prm-train benchmark pairs`: texts, steps and chats; ties; a scorer of whole solutions."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from data_gen.formats.stepwise import RowError
from prm_train.benchmarking.benchmark import main
from prm_train.benchmarking.pairs import read_pair
from prm_train.metrics.estimators import wilson_interval


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def measured(folder: Path, rows: list[dict[str, Any]], scores: list[dict[str, Any]]) -> dict[str, Any]:
    words = ["--rows", str(write(folder / "rows.jsonl", *rows)), "--output", str(folder / "out")]
    main(["pairs", *words, "--scores", str(write(folder / "scores.jsonl", *scores))])
    found: dict[str, Any] = json.loads((folder / "out/metrics.json").read_text())["measures"]
    return found


def test_ties_count_one_half_and_a_solution_without_a_score_loses(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "chosen": "x\ny", "rejected": "z", "subset": "one"},
        {"prompt": "b", "chosen": ["x"], "rejected": ["y"], "subset": "one"},
        {
            "prompt": [{"role": "user", "content": "c"}],
            "chosen": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "x"}],
            "rejected": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "y"}],
            "subset": "two",
        },
        {"question": "d", "chosen": "x", "rejected": "y", "subset": "two"},
    ]
    scores: list[dict[str, Any]] = [
        {"question": "a", "steps": ["x", "y"], "scores": [0.9, 0.4]},  # 0.4, the smallest
        {"question": "a", "steps": ["z"], "scores": [0.3]},
        {"question": "b", "steps": ["x"], "scores": [0.5]},
        {"question": "b", "steps": ["y"], "scores": [0.5]},
        {"question": "c", "steps": ["x"], "scores": [None]},
        {"question": "c", "steps": ["y"], "scores": [0.0]},
        {"question": "d", "steps": ["x"], "scores": [0.8]},
        {"question": "d", "steps": ["y"], "scores": [0.1]},
    ]
    found = measured(tmp_path, rows, scores)
    assert found["all"]["accuracy"]["mean"] == (1 + 0.5 + 0 + 1) / 4
    assert (found["all"]["n_pairs"], found["all"]["n_ties"], found["all"]["n_without_score"]) == (4, 1, 1)
    assert {name: found[name]["accuracy"]["mean"] for name in ("one", "two")} == {"one": 0.75, "two": 0.5}
    predictions = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert [each["won"] for each in predictions[::2]] == [1, 0.5, 0, 1]


def test_one_score_a_solution_is_enough(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": "a", "chosen": "x\ny", "rejected": "z"}]
    scores: list[dict[str, Any]] = [{"question": "a", "steps": ["x", "y"], "scores": [0.2]}]
    found = measured(tmp_path, rows, [*scores, {"question": "a", "steps": ["z"], "scores": [0.1]}])
    assert found["all"]["accuracy"] == pytest.approx(asdict(wilson_interval(1.0, 1)))  # one pair shows little


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chosen": "x", "rejected": "y"}, "here: no question; fields present: chosen, rejected"),
        ({"prompt": "a", "chosen": "x"}, "here: no field 'rejected'; fields present: prompt, chosen"),
        ({"prompt": "a", "chosen": "x", "rejected": " \n"}, "here: field 'rejected' is blank"),
        (
            {"prompt": "a", "chosen": "x", "rejected": ["x"]},
            "here: chosen and rejected are the same solution",
        ),
        ({"prompt": "a", "chosen": 3, "rejected": "y"}, "here: field 'chosen' is no solution: got 3"),
    ],
)
def test_rows_that_are_no_pair_are_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=message):
        read_pair(row, "here", "\n")
