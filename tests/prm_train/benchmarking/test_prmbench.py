"""`prm-train benchmark prmbench`: PRMScore by class, worked by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_gen.formats.stepwise import RowError
from prm_train.benchmarking.benchmark import main
from prm_train.benchmarking.prmbench import prm_score, read_row


def row(name: str, index: str, steps: list[str], wrong: list[int], **others: Any) -> dict[str, Any]:
    return {
        "original_question": f"original {index}?",
        "original_process": ["1. all", "2. right"],
        "modified_question": f"{name} {index}?",
        "modified_process": steps,
        "error_steps": wrong,
        "classification": name,
        "idx": index,
        **others,
    }


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def test_prm_score_of_each_class_and_of_all_steps_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        row("redundency", "a", ["1. x", "2. y", "3. z"], [2]),
        row("redundency", "a", ["1. the same class and idx"], [1]),
        row("circular", "a", ["x", "y"], [1]),
        row("multi_solutions", "a", ["x", "y"], []),
    ]
    scores: list[dict[str, Any]] = [
        {"question": "redundency a?", "steps": ["x", "y", "z"], "scores": [0.9, 0.5, 0.2]},
        {"question": "original a?", "steps": ["all", "right"], "scores": [0.9, 0.1]},
        {"question": "circular a?", "steps": ["x", "y"], "scores": [0.7, None]},
        {"question": "multi_solutions a?", "steps": ["x", "y"], "scores": [0.6, 0.4]},
    ]
    main(
        [
            "prmbench",
            *("--rows", str(write(tmp_path / "rows.jsonl", *rows))),
            *("--scores", str(write(tmp_path / "scores.jsonl", *scores))),
            *("--output", str(tmp_path / "out")),
        ]
    )
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["n_measured"] == 4  # of 4 rows one repeats another, and one holds two solutions
    found = metrics["measures"]
    classes = found["classes"]
    assert {name: each["n_solutions"] for name, each in classes.items()} == {
        "redundancy": 1,
        "circular": 1,
        "multi_solutions": 1,
        "correct": 1,
    }
    # x is judged good; y is 0.5 and so wrong, as it is; z is judged wrong, but is good: F1 2/3 and 2/3
    redundancy = classes["redundancy"]
    assert (redundancy["f1"], redundancy["negative_f1"]) == pytest.approx((2 / 3, 2 / 3))
    assert redundancy["prm_score"]["mean"] == pytest.approx(2 / 3)
    assert (redundancy["first_error_accuracy"], redundancy["accuracy_on_good_steps"]) == (1.0, 0.5)
    # the wrong step is judged good, and the other has no score: no good step found, no wrong one
    assert (classes["circular"]["f1"], classes["circular"]["negative_f1"]) == (0, 0)
    assert classes["circular"]["n_without_score"] == 1
    # all are good, one is judged good: 2 / (2 + 1), and that is its score
    assert classes["multi_solutions"]["prm_score"]["mean"] == pytest.approx(2 / 3)
    # of all steps but those of `correct`: 2 good as good, 1 wrong as good, 1 wrong as wrong, 2 good as wrong
    assert found["total"]["n_steps"] == 6
    assert found["total"]["prm_score"]["mean"] == pytest.approx(0.5 * 4 / 7 + 0.5 * 2 / 5)
    assert found["categories"] == {
        "simplicity": pytest.approx(1 / 3),
        "soundness": None,
        "sensitivity": pytest.approx(2 / 3),
    }
    assert "correct (not in total)" in capsys.readouterr().out


def test_a_score_of_nothing_is_undefined_but_not_where_only_good_steps_are_asked_for() -> None:
    all_good = np.array(
        [3, 0, 0, 0]
    )  # four counts: good as good, wrong as good, wrong as wrong, good as wrong
    assert prm_score(all_good, "circular") is None
    assert prm_score(all_good, "multi_solutions") == 1.0
    assert prm_score(np.array([3, 0, 2, 0]), "circular") == 1.0


def test_a_step_loses_its_own_number_and_nothing_else() -> None:
    steps = ["1. Add.", "Step 2: 3. is odd", "2.5 is half of 5", "4.", "4. x"]
    (judged,) = read_row(row("circular", "a", steps, [5]), "here")
    assert judged.attempt.steps == ("Add.", "3. is odd", "2.5 is half of 5", "4.", "4. x")
    assert judged.labels == (True, True, True, True, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"classification": "typo"},
            "here: an unknown classification: got 'typo', expected redundancy, circ",
        ),
        ({"error_steps": [0]}, "here: an error step that is none: got 0, expected 1 to 2"),
        ({"error_steps": [3]}, "here: an error step that is none: got 3, expected 1 to 2"),
        ({"modified_process": ["x", " "]}, "here: step 1 is blank"),
    ],
)
def test_rows_that_break_the_layout_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=message):
        read_row(row("circular", "a", ["x", "y"], [1]) | change, "here")
