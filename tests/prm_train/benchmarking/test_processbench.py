"""`prm-train benchmark processbench`: checkpoints of ours and of others, stored scores, bad rows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_gen.records.first_error import NO_ERROR, first_error_f1
from data_gen.settings.errors import InputError
from prm_train.benchmarking.benchmark import main
from prm_train.checkpoints.calibration import ScoreBin
from prm_train.checkpoints.facts import (
    UNCALIBRATED,
    CheckpointFacts,
    Reliability,
    Threshold,
    read_config_facts,
    store_calibration,
)
from prm_train.metrics.ranking import predicted_error
from prm_train.search.score_rows import main as score
from prm_train.training.config import TrainOrmConfig, TrainPrmConfig
from prm_train.training.scorer_network import build_scorer, save_scorer
from tests.prm_train.scoring.foreign.test_formats import build_trl

COUNTS = {"gsm8k": (207, 193), "math": (594, 406), "olympiadbench": (661, 339), "omnimath": (759, 241)}
STEPS = ["3 plus 4 = 7", "7 times 2 = 14", "Answer: 14"]


def save_random(kind: Any, policy: Path, output: Path) -> Path:
    torch.manual_seed(0)
    config = (TrainPrmConfig if kind == "prm" else TrainOrmConfig)(
        rows=Path("unused"), output=output, model=str(policy)
    )
    model, encoding = build_scorer(kind, config)
    save_scorer(model, encoding, CheckpointFacts(kind, encoding.facts, "none, it is random", "min"), output)
    return output


def row(number: int, label: int, steps: list[str] = STEPS) -> dict[str, Any]:
    return {
        "id": f"x-{number}",
        "generator": "g",
        "problem": f"Start with {number % 3}",
        "steps": steps,
        "final_answer_correct": label < 0,
        "label": label,
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four solutions a split, one of which is longer than the 256 tokens that the tiny model takes."""
    rows = [row(i, label) for i, label in enumerate((-1, 0, -1))]
    rows.append(row(1, 3, [*STEPS, "long " * 200]) | {"id": "x-3"})
    (tmp_path / "data").mkdir()
    for split in ("gsm8k", "math"):
        (tmp_path / "data" / f"{split}.json").write_text(json.dumps(rows))
    return tmp_path / "data"


def run(*words: Any) -> None:
    main(["processbench", *map(str, words)])


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_checkpoint_is_measured_and_stores_the_tuned_threshold(data, tiny_policy, tmp_path, capsys):
    prm = save_random("prm", tiny_policy, tmp_path / "prm")
    store_calibration(prm, read_config_facts(str(prm)).calibration, (Threshold("own validation", 0.25),))
    output = tmp_path / "out"
    words = ["--checkpoint", prm, "--tune_on", "gsm8k", "--store_threshold", "true", "--output", output]
    run("--rows", data, *words)
    found = json.loads((output / "metrics.json").read_text())
    splits = found["measures"]["splits"]
    assert splits["gsm8k"]["at"]["0.5"] == splits["math"]["at"]["0.5"]
    assert {key: splits["math"][key] for key in ("n_erroneous", "n_correct", "n_too_long")} == {
        "n_erroneous": 2,
        "n_correct": 2,
        "n_too_long": 1,
    }
    assert splits["math"]["at"]["own validation"]["thresholds"] == [0.25]
    (tuned,) = splits["gsm8k"]["at"]["tuned on gsm8k"]["thresholds"]
    assert read_config_facts(str(prm)).thresholds == (
        Threshold("own validation", 0.25),
        Threshold("ProcessBench gsm8k", tuned, splits["math"]["at"]["tuned on gsm8k"]["f1"]["mean"]),
    )
    predictions = lines(output / "predictions.jsonl")
    assert [each["id"] for each in predictions] == ["x-0", "x-1", "x-2", "x-3"] * 2
    assert [score is None for score in predictions[3]["scores"]] == [False, False, False, True]
    assert predictions[0]["predicted"]["0.5"] == predicted_error(predictions[0]["scores"], 0.5)
    told = capsys.readouterr().out
    assert "gsm8k: 2 erroneous, 2 correct, 1 too long for the scorer" in told

    # the predictions are stored scores themselves, and those that `score` wrote are the same
    score(
        ["--rows", str(data / "math.json"), "--checkpoint", str(prm), "--output", str(tmp_path / "s.jsonl")]
    )
    for stored in (output / "predictions.jsonl", tmp_path / "s.jsonl"):
        run("--rows", data / "math.json", "--scores", stored, "--output", tmp_path / "again")
        again = json.loads((tmp_path / "again" / "metrics.json").read_text())["measures"]["splits"]["math"]
        assert again["at"]["0.5"] == splits["math"]["at"]["0.5"]
        assert again["sweep"] == splits["math"]["sweep"]


def test_thresholds_of_a_checkpoint_are_for_its_own_scores_alone(data, tiny_policy, tmp_path):
    """Its lower bounds are other scores, of which its threshold says nothing."""
    prm = save_random("prm", tiny_policy, tmp_path / "prm")
    counted = Reliability((ScoreBin(0.0, 8, 8, 0.5),))
    store_calibration(prm, UNCALIBRATED, (Threshold("own validation", 0.25),), counted)
    words = ["--checkpoint", prm, "--rows", data / "math.json", "--scorer.pessimism", 0.95]
    run(*words, "--output", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["measures"]["splits"]["math"]
    assert set(found["at"]) == {"0.5"}
    with pytest.raises(InputError, match=r"store_threshold: got true with scorer\.ensemble or scorer\.pessi"):
        run(*words, "--tune_on", "math", "--store_threshold", "true")
    with pytest.raises(InputError, match=r"scorer\.ensemble .*nowhere: no such folder"):
        run(*words, "--scorer.ensemble", tmp_path / "nowhere")


def test_a_prm_of_another_project_is_measured(data, tmp_path):
    torch.manual_seed(0)
    build_trl(tmp_path / "trl")
    output = tmp_path / "out"
    run("--rows", data / "math.json", "--checkpoint", tmp_path / "trl", "--n_rows", 3, "--output", output)
    at = json.loads((output / "metrics.json").read_text())["measures"]["splits"]["math"]["at"]
    assert list(at) == ["0.5", "cross-fitted"] or list(at) == ["0.5"]
    assert len(lines(output / "predictions.jsonl")) == 3


def test_what_is_to_be_scored_is_written_for_any_program(data, tmp_path):
    run("--rows", data, "--export_rows", tmp_path / "rows.jsonl")
    rows = lines(tmp_path / "rows.jsonl")
    assert len(rows) == 4  # the two splits hold the same solutions
    scores = [each | {"scores": [0.9] * len(each["steps"])} for each in rows]
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(each) + "\n" for each in scores))
    run("--rows", data, "--scores", tmp_path / "scores.jsonl", "--output", tmp_path / "out")
    at = json.loads((tmp_path / "out" / "metrics.json").read_text())["measures"]["splits"]["math"]["at"][
        "0.5"
    ]
    assert (at["accuracy_on_erroneous"], at["accuracy_on_correct"]) == (0, 1)


def test_bad_rows_stop_the_command_or_are_named(data, tmp_path, capsys):
    (tmp_path / "gsm8k.jsonl").write_text(
        "".join(json.dumps(each) + "\n" for each in (row(0, -1), row(1, 7), row(2, 0)))
    )
    scores = tmp_path / "scores.jsonl"
    given = [row(number, -1) | {"scores": [0.9, 0.9, 0.9]} for number in (0, 2)]
    scores.write_text("".join(json.dumps(each) + "\n" for each in given))
    with pytest.raises(InputError, match=r"gsm8k\.jsonl:2: label is no step"):
        run("--rows", tmp_path / "gsm8k.jsonl", "--scores", scores)
    words = ["--rows", tmp_path / "gsm8k.jsonl", "--scores", scores, "--bad_rows", "skip"]
    run(*words, "--output", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (found["n_measured"], len(found["skipped"])) == (2, 1)
    assert "gsm8k.jsonl:2: label is no step" in found["skipped"][0]
    assert "1 rows left out" in capsys.readouterr().out


def test_scores_that_are_missing_or_none_are_refused(data, tmp_path):
    scores = tmp_path / "scores.jsonl"

    def stored(*rows: dict[str, Any]) -> None:
        scores.write_text("".join(json.dumps(each) + "\n" for each in rows))

    words = ["--rows", data / "math.json", "--scores", scores]
    stored(row(0, -1) | {"scores": [0.9, 0.9, 0.9]})
    with pytest.raises(InputError, match=r"no scores for 3 of 4 solutions, as of 'Start with 1' in 3 steps"):
        run(*words)
    stored(row(0, -1) | {"scores": [0.9, 0.9]})
    with pytest.raises(InputError, match=r"scores\.jsonl:1: scores: got 2 of them, expected a list of one a"):
        run(*words)
    stored(row(0, -1) | {"scores": [0.9, 0.9, 1.5]})
    with pytest.raises(InputError, match=r"got 1\.5, expected numbers from 0 to 1, or null"):
        run(*words)
    stored(row(0, -1) | {"scores": [0.9, None, 0.2]})
    with pytest.raises(InputError, match="got null before a number; expected null for the last steps alone"):
        run(*words)
    stored(*(row(0, -1) | {"scores": [0.9, 0.9, last]} for last in (0.1, 0.2)))
    with pytest.raises(InputError, match=r"scores\.jsonl:2: other scores than an earlier row"):
        run(*words)
    with pytest.raises(InputError, match="checkpoint: got none, and no scores"):
        run(*words[:2])


def test_an_orm_and_settings_without_effect_are_refused(data, tiny_policy, tmp_path):
    orm = save_random("orm", tiny_policy, tmp_path / "orm")
    with pytest.raises(InputError, match="an ORM, which scores whole solutions; expected a PRM"):
        run("--checkpoint", orm, "--rows", data)
    with pytest.raises(InputError, match="tune_on: got 'nowhere', expected one of the splits gsm8k, math"):
        run("--checkpoint", orm, "--rows", data, "--tune_on", "nowhere")
    with pytest.raises(InputError, match="threshold: has no effect on processbench; expected it with prmben"):
        run("--checkpoint", orm, "--rows", data, "--threshold", 0.4)
    with pytest.raises(InputError, match="scorer: has no effect without a checkpoint"):
        run("--rows", data, "--scores", data / "math.json", "--scorer.device", "cpu")
    with pytest.raises(InputError, match="scores: has no effect beside a checkpoint"):
        run("--checkpoint", orm, "--rows", data, "--scores", data / "math.json")


def test_published_counts_and_f1_of_real_labels(real_data, tmp_path):
    scored, rng = tmp_path / "scores.jsonl", np.random.default_rng(0)
    solutions = {
        split: json.loads((real_data / f"processbench/{split}.json").read_text()) for split in COUNTS
    }
    with scored.open("w") as file:
        for rows in solutions.values():
            for each in rows:
                each["scores"] = (rng.random(len(each["steps"])) ** 0.3).tolist()
                file.write(json.dumps(each) + "\n")
    run("--rows", real_data / "processbench", "--scores", scored, "--output", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["measures"]
    assert list(found["splits"]) == list(COUNTS)
    for split, rows in solutions.items():
        at = found["splits"][split]["at"]["0.5"]
        assert (found["splits"][split]["n_erroneous"], found["splits"][split]["n_correct"]) == COUNTS[split]
        expected = first_error_f1(
            [predicted_error(each["scores"], 0.5) for each in rows], [each["label"] for each in rows]
        )
        assert at["f1"]["mean"] == pytest.approx(expected.f1)
        assert at["accuracy_on_erroneous"] == expected.accuracy_on_erroneous
        assert 0.02 < at["f1"]["high"] - at["f1"]["low"] < 0.15
        assert sum(each["label"] == NO_ERROR for each in rows) == COUNTS[split][1]
    means = [found["splits"][split]["at"]["0.5"]["f1"]["mean"] for split in COUNTS]
    assert found["mean"]["0.5"]["f1"]["mean"] == pytest.approx(sum(means) / 4)


def test_a_threshold_is_chosen_on_a_file_that_is_not_measured(tmp_path):
    def one(number: int, label: int) -> dict[str, Any]:
        return row(number, label, [f"step of {number}"]) | {"problem": f"problem {number}"}

    # chosen on .1 (wrong) and .3 (right): the middle; of .15 and .25 (both wrong) it finds one, .9 is right
    (tmp_path / "tuning.json").write_text(json.dumps([one(0, 0), one(1, -1)]))
    (tmp_path / "math.json").write_text(json.dumps([one(2, 0), one(3, 0), one(4, -1)]))
    stored = [
        one(number, -1) | {"scores": [given]} for number, given in enumerate((0.1, 0.3, 0.15, 0.25, 0.9))
    ]
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(each) + "\n" for each in stored))
    words = ["--scores", tmp_path / "scores.jsonl", "--output", tmp_path / "out"]
    run("--rows", tmp_path / "math.json", "--tune_on", tmp_path / "tuning.json", *words)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (found["n_measured"], list(found["measures"]["splits"])) == (3, ["math"])
    at = found["measures"]["splits"]["math"]["at"]["tuned on tuning"]
    assert at["thresholds"] == [pytest.approx(0.2)]
    assert (at["accuracy_on_erroneous"], at["accuracy_on_correct"], at["chosen_here"]) == (0.5, 1, False)
    assert found["measures"]["mean"]["tuned on tuning"]["n_splits"] == 1
    # a file that is called as a split is another one all the same
    (tmp_path / "own").mkdir()
    own = (tmp_path / "tuning.json").rename(tmp_path / "own" / "math.json")
    run("--rows", tmp_path / "math.json", "--tune_on", own, *words)
    again = json.loads((tmp_path / "out" / "metrics.json").read_text())["measures"]
    assert again["splits"]["math"]["at"][f"tuned on {own}"] == at
    assert again["mean"][f"tuned on {own}"]["n_splits"] == 1
