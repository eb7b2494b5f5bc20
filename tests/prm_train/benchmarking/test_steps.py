"""`prm-train benchmark steps`: scores against labels in several layouts, worked by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prm_train.benchmarking.benchmark import main
from prm_train.benchmarking.measures import Resamples, f1_good, f1_wrong, step_counts


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(rows: Path, scores: Path, output: Path, *words: str) -> dict[str, Any]:
    main(["steps", "--rows", str(rows), "--scores", str(scores), "--output", str(output), *words])
    found: dict[str, Any] = json.loads((output / "metrics.json").read_text())["measures"]
    return found


def test_measures_of_labelled_steps_worked_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write(
        tmp_path / "trl.jsonl",
        {"prompt": "a", "completions": ["x", "y", "z"], "labels": [True, False, None]},
        {"prompt": "b", "completions": ["x", "y"], "labels": [True, True]},
    )
    scores = write(
        tmp_path / "scores.jsonl",
        {"question": "a", "steps": ["x", "y", "z"], "scores": [0.9, 0.6, 0.1]},
        {"question": "b", "steps": ["x", "y"], "scores": [0.4, None]},
    )
    found = run(rows, scores, tmp_path / "out")
    steps = found["steps"]["trl"]
    # scored and labelled: right .9 and .4, wrong .6
    assert (steps["n_steps"], steps["n_good"], steps["n_without_score"]) == (3, 2, 1)
    assert steps["auroc"]["mean"] == 0.5
    assert steps["within_problem_auroc"] == 1.0
    assert steps["brier"]["mean"] == pytest.approx((0.01 + 0.36 + 0.36) / 3)
    # judged right at .5: .9 and .6. Of right steps 1 found, 1 missed, 1 false; of wrong ones none found
    assert steps["f1_of_good_steps"]["mean"] == pytest.approx(2 / (2 + 1 + 1))
    assert steps["f1_of_wrong_steps"]["mean"] == 0.0
    at = found["first_errors"]["splits"]["trl"]["at"]["0.5"]
    assert (at["accuracy_on_erroneous"], at["accuracy_on_correct"]) == (0, 0)
    assert "3 labelled steps, 2 of them right; 1 more have no score" in capsys.readouterr().out


def test_any_layout_is_measured_and_values_have_no_first_error(tmp_path: Path) -> None:
    rows = write(
        tmp_path / "own.jsonl",
        {"q": "a", "parts": ["x", "y"], "p": [1.0, 0.25]},
        {"q": "b", "parts": ["x"], "p": [0.5]},
    )
    scores = write(
        tmp_path / "scores.jsonl",
        {"question": "a", "steps": ["x", "y"], "scores": [0.5, 0.25]},
        {"question": "b", "steps": ["x"], "scores": [1.0]},
    )
    words = ["--rows_format", "generic", "--generic.question", "q", "--generic.steps", "parts"]
    words += ["--generic.labels", "p", "--generic.labels_are", "values"]
    found = run(rows, scores, tmp_path / "out", *words)
    assert found["steps"]["own"]["brier"]["mean"] == pytest.approx((0.25 + 0 + 0.25) / 3)
    assert found["steps"]["own"]["auroc"]["mean"] == 1.0
    assert found["first_errors"] == {"splits": {}, "mean": {}}


def test_f1_of_right_and_of_wrong_steps() -> None:
    counts = step_counts([True, True, False, False, True], [True, False, False, True, True])
    assert counts.tolist() == [2, 1, 1, 1]
    assert f1_good(counts) == pytest.approx(4 / 6)
    assert f1_wrong(counts) == pytest.approx(2 / 4)
    assert f1_wrong(step_counts([True], [True])) is None  # no wrong step, and none judged wrong


def test_resamples_draw_problems_with_all_their_rows() -> None:
    resamples = Resamples(["a", "b", "a", "c"], seed=0, n=50)
    seen = list[tuple[int, ...]]()

    def see(places: Any) -> float:
        seen.append(tuple(np.sort(places).tolist()))
        return 0.0

    resamples.of(see)
    assert all(places.count(0) == places.count(2) for places in seen)
    assert {sum(place != 2 for place in places) for places in seen} == {3}  # as many problems as there are
    assert len(set(seen)) > 5
    found = resamples.interval(lambda places: float((places == 1).mean()))
    assert found is not None
    assert found.mean == 0.25
