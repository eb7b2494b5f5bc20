"""What a search says it will cost, from a pilot that is part of it."""

import json
import logging
from pathlib import Path

import pytest

from prm_train.search.results import read_results
from prm_train.search.run import main


def search(folder: Path, prm: str, *arguments: str) -> None:
    small = (
        "--problems.n",
        "40",
        "--policy.model",
        "simulated",
        "--n_samples",
        "2",
        "--n_difficulty_draws",
        "1",
    )
    tree = ("--prm", prm, "--strategies", "beam", "--sizes", "2", "--max_new_tokens", "60")
    main(["--output", str(folder), *small, *tree, *arguments])


def test_a_forecast_searches_twenty_problems_of_the_run_and_is_close_to_its_cost(
    tmp_path: Path, random_scorers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        search(tmp_path, random_scorers["prm"], "--forecast", "true")
    pilot = read_results(tmp_path / "results.jsonl")
    assert len(pilot) == 20
    assert not (tmp_path / "search.json").exists()
    found = json.loads((tmp_path / "forecast-search.json").read_text())
    assert (found["n_problems"], found["n_pilot"]) == (40, 20)
    names = ["n_generated", "n_prefilled", "n_cached", "n_scored", "seconds", "seconds_left"]
    assert list(found["totals"]) == names  # no FLOPs: nobody knows those of the simulated policy
    seconds, left = found["totals"]["seconds"], found["totals"]["seconds_left"]
    assert left["expected"] == pytest.approx(seconds["expected"] / 2, rel=1e-6)
    assert "forecast for 40 problems (90 % interval):\n             generated" in caplog.text

    methods = {each["method"]: each for each in found["methods"]}
    assert list(methods) == ["greedy N = 1", "samples N = 2 T = 1", "samples N = 2 T = 1, prm", "beam N = 2"]
    beam = [result.trees["beam"][2].cost for result in pilot]
    assert methods["beam N = 2"]["n_generated"] == 2 * sum(cost.policy.n_generated for cost in beam)
    assert methods["beam N = 2"]["n_scored"] == 2 * sum(cost.scorer.n_new for cost in beam)
    scored = sum(result.cost_of_scores("prm").n_new for result in pilot)
    assert methods["samples N = 2 T = 1, prm"]["n_scored"] == 2 * scored

    search(tmp_path, random_scorers["prm"], "--forecast", "true")  # nothing is searched twice
    again = json.loads((tmp_path / "forecast-search.json").read_text())
    assert list(again["totals"]) == names[:-2]
    assert again["methods"] == found["methods"]

    (tmp_path / "results.jsonl").unlink()  # as if killed before it: draws take no time
    search(tmp_path, random_scorers["prm"], "--forecast", "true")
    assert list(json.loads((tmp_path / "forecast-search.json").read_text())["totals"]) == names[:-2]

    search(tmp_path, random_scorers["prm"])
    whole = read_results(tmp_path / "results.jsonl")
    assert whole[:20] == pilot
    n_generated = sum(result.usage.n_generated for result in whole)
    assert found["totals"]["n_generated"]["expected"] == pytest.approx(n_generated, rel=0.05)


def test_flops_of_a_forecast_are_those_of_its_models(
    tmp_path: Path, random_scorers: dict[str, str], tiny_policy: Path
) -> None:
    arguments = ("--policy.model", str(tiny_policy), "--problems.n", "3", "--max_new_tokens", "20")
    search(tmp_path, random_scorers["prm"], *arguments, "--forecast", "true")
    found = json.loads((tmp_path / "forecast-search.json").read_text())
    methods = {each["method"]: each["flops"] for each in found["methods"]}
    assert methods["samples N = 2 T = 1, prm"] > methods["samples N = 2 T = 1"] > methods["greedy N = 1"] > 0
    flops = found["totals"]["flops_of_weights"]
    assert flops["low"] == flops["expected"] == flops["high"] > methods["greedy N = 1"]
