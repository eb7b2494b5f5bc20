"""`prm-train benchmark best-of-n` on the three layouts of frozen candidates."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from data_gen.settings.errors import InputError
from prm_train.benchmarking.benchmark import main
from prm_train.benchmarking.best_of_n import best
from prm_train.metrics.estimators import wilson_interval
from prm_train.strategies.candidates import Candidate


def candidate(answer: str | None, verdict: str, text: str) -> dict[str, Any]:
    return {"text": text, "steps": text.split("\n"), "answer": answer, "verdict": verdict}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def measured(output: Path, *words: Any) -> dict[str, Any]:
    main(["best-of-n", "--output", str(output), *map(str, words)])
    found: dict[str, Any] = json.loads((output / "metrics.json").read_text())["measures"]
    return found


@pytest.fixture
def files(tmp_path: Path) -> list[Any]:
    """Two problems of four candidates, and the scores of their steps."""
    texts: dict[str, list[tuple[str | None, str, str]]] = {
        "p": [
            ("7", "correct", "a"),
            ("8", "incorrect", "b"),
            ("8", "incorrect", "c"),
            (None, "unknown", "d"),
        ],
        "q": [
            ("5", "incorrect", "e"),
            ("6", "correct", "f\ng"),
            ("6", "correct", "h"),
            ("5", "incorrect", "i"),
        ],
    }
    scores = {"a": [0.9], "b": [0.2], "c": [0.3], "d": [1.0], "e": [0.8], "f\ng": [0.9, 0.5], "h": [0.6]}
    scores["i"] = [0.7]
    rows = [
        {
            "problem_id": name,
            "question": f"{name}?",
            "gold_answer": "1",
            "candidates": [candidate(*each) for each in own],
        }
        for name, own in texts.items()
    ]
    stored = [
        {"question": f"{name}?", "steps": text.split("\n"), "scores": scores[text]}
        for name, own in texts.items()
        for _, _, text in own
    ]
    return [
        *("--rows", write(tmp_path / "candidates.jsonl", *rows)),
        *("--scores", write(tmp_path / "scores.jsonl", *stored)),
    ]


def test_choices_among_our_candidates_worked_by_hand(files: list[Any], tmp_path: Path) -> None:
    found = measured(tmp_path / "out", *files)
    accuracy = {
        name: {n: each["accuracy"]["mean"] for n, each in at.items()} for name, at in found["at"].items()
    }
    # p: the best that states an answer is a, right; its sum .9 beats .5; two vote for 8.
    # q: the best is e, wrong; 6 has .5 + .6, 5 has .8 + .7; a tie of votes goes to the first answer, 5.
    assert (accuracy["best"]["4"], accuracy["weighted"]["4"], accuracy["majority"]["4"]) == (0.5, 0.5, 0.0)
    # blocks of two: p (a, b) right, (c, d) wrong; q (e, f) wrong, (h, i) wrong by score
    assert accuracy["best"]["2"] == pytest.approx((0.5 + 0) / 2)
    assert found["at"]["best"]["2"]["first"] == 0.5
    # of four candidates one and two are right: 1 - 3/6 and 1 - 1/6
    assert accuracy["any right"] == pytest.approx({"1": 0.375, "2": (1 / 2 + 5 / 6) / 2, "4": 1.0})
    assert found["one"]["mean"] == 0.375
    assert found["minus_majority"]["best"]["4"]["mean"] == 0.5
    # two problems that agree are no certainty: all right, or no difference, which may be -1 to 1
    sure = wilson_interval(1.0, 2)
    assert found["at"]["any right"]["4"]["accuracy"] == pytest.approx(asdict(sure))
    differences = found["minus_majority"]["weighted"]
    assert differences["1"] == pytest.approx({"mean": 0, "low": sure.low - 1, "high": 1 - sure.low})
    assert (found["n_unknown"], found["n_without_score"]) == (1, 0)
    predictions = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert predictions[5]["score"] == 0.5  # the smallest of its steps
    assert predictions[3]["verdict"] == "unknown"
    again = measured(tmp_path / "again", *files[:3], tmp_path / "out/predictions.jsonl")
    assert again["at"] == found["at"]
    product = measured(tmp_path / "mean", *files, "--aggregation", "mean")
    assert product["at"]["weighted"]["4"]["accuracy"]["mean"] == 0.5
    with pytest.raises(InputError, match="n: got 8, but problem p has 4 candidates; expected at most 4"):
        measured(tmp_path / "many", *files, "--n", "2,8")


def test_without_scores_majority_and_the_ceiling_are_measured(files: list[Any], tmp_path: Path) -> None:
    found = measured(tmp_path / "out", *files[:2])
    assert list(found["at"]) == ["majority", "any right"]
    assert found["minus_majority"] == {}


def test_the_order_of_candidates_with_equal_scores_decides_nothing() -> None:
    right, wrong = (Candidate("p", i, "t", "1", is_correct) for i, is_correct in enumerate((True, False)))
    assert best([right, wrong, wrong], [0.5, 0.5, 0.1]) == best([wrong, wrong, right], [0.5, 0.1, 0.5]) == 0.5
    assert best([right, wrong], [None, None]) == 0.0


def test_rewardbench_rows_count_ties_as_shares_and_leave_their_subset_ties_out_of_the_mean(
    tmp_path: Path,
) -> None:
    rows = [
        {"id": "0", "prompt": "a?", "chosen": ["x"], "rejected": ["y", "z", "w"], "subset": "Math"},
        {"id": "1", "prompt": "b?", "chosen": ["x"], "rejected": ["y", "z", "w"], "subset": "Focus"},
        {"id": "2", "prompt": "c?", "chosen": ["x", "y"], "rejected": ["z", "w"], "subset": "Ties"},
    ]
    given = {"a?": [0.5, 0.5, 0.1, 0.1], "b?": [0.9, 0.2, 0.1, 0.1], "c?": [0.1, 0.2, 0.9, 0.3]}
    scores = [
        {"question": question, "steps": [text], "scores": [score]}
        for question, own in given.items()
        for text, score in zip("xyzw", own, strict=True)
    ]
    words = ["--rows", write(tmp_path / "rb.jsonl", *rows), "--scores", write(tmp_path / "s.jsonl", *scores)]
    found = measured(tmp_path / "out", *words)
    assert found["by_subset"] == {"Math": 0.5, "Focus": 1.0, "Ties": 0.0}
    assert found["mean_over_subsets"] == 0.75
    assert found["best_of_all"]["mean"] == 0.5
    assert "at" not in found  # the right ones stand first: the first N say nothing
    with pytest.raises(InputError, match="n: has no effect on chosen and rejected candidates"):
        measured(tmp_path / "out", *words, "--n", 2)
    with pytest.raises(InputError, match="checkpoint: got none, and no scores"):
        measured(tmp_path / "out", *words[:2])


def test_golden_numbers_of_the_qwen_samples(real_data: Path, tmp_path: Path) -> None:
    found = measured(tmp_path / "out", "--rows", real_data / "samples/qwen_math_cot_100.jsonl")
    first = {name: [each["first"] for each in at.values()] for name, at in found["at"].items()}
    assert first["majority"] == pytest.approx([0.90, 0.90, 0.93, 0.93])
    assert first["best"] == pytest.approx([0.90, 0.93, 0.93, 0.94])
    assert (first["weighted"][3], first["any right"][3]) == pytest.approx((0.94, 0.96))
    assert found["at"]["best"]["8"]["accuracy"]["mean"] == pytest.approx(0.94)  # one block of eight


def test_rows_of_no_layout_are_refused_with_file_and_line(tmp_path: Path) -> None:
    for row, message in (
        ({"question": "a?"}, r"rows\.jsonl:1: no field candidates, code or chosen; fields present: question"),
        ({"chosen": ["x"], "rejected": [], "prompt": "a?"}, r":1: 1 chosen and 0 rejected, expected some"),
        (
            {"problem_id": "p", "question": "q", "gold_answer": "1", "candidates": [{"text": "x"}]},
            r"rows\.jsonl:1: candidates\.0\.steps: got .*: Field required",
        ),
        (
            {"idx": 1, "question": "q", "gt": "1", "code": ["x"], "pred": ["1"], "score": ["yes"]},
            r"rows\.jsonl:1: score: got \['yes'\], expected true or false",
        ),
    ):
        with pytest.raises(InputError, match=message):
            measured(tmp_path / "out", "--rows", write(tmp_path / "rows.jsonl", row))
