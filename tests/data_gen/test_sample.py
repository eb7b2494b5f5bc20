import json
import logging
from collections import Counter
from pathlib import Path

import pytest

from data_gen.config import InputError
from data_gen.ledger import Ledger
from data_gen.records import GradedSolution, Problem
from data_gen.runs import read_records
from data_gen.sample import main as sample

SIMULATED = ("--policy.model", "simulated", "--max_new_tokens", "400")


def run(folder: Path, n: int, *arguments: str) -> dict:
    sample(["--output", str(folder), "--problems.n", str(n), *SIMULATED, *arguments])
    return json.loads((folder / "sample.json").read_text()) if (folder / "sample.json").exists() else {}


def test_the_summary_counts_what_was_written_in_the_order_of_the_problems(tmp_path: Path):
    facts = run(tmp_path, 30, "--n_samples", "3", "--n_open", "4")
    problems = [problem.problem_id for problem in read_records(tmp_path / "problems.jsonl", Problem)]
    solutions = list(read_records(tmp_path / "solutions.jsonl", GradedSolution))
    assert [(each.solution.problem_id, each.solution.index) for each in solutions] == [(p, i) for p in problems for i in range(3)]
    verdicts = Counter(each.verdict.kind.value for each in solutions)
    assert facts["verdicts"] == dict(sorted(verdicts.items()))
    assert facts["pass_at_1"] == verdicts["correct"] / 90
    assert facts["n_generated"] == sum(len(each.solution.token_ids) for each in solutions)
    assert facts["tokens_per_label"] == round(facts["n_generated"] / 90, 1)  # each of the 90 solutions has a verdict
    assert facts["policy_id"] == "simulated-arithmetic-1"
    assert not facts["is_simulated"]  # the policy that the config names is meant
    assert facts["this_process"]["n_draws"] == 90


def test_stop_strings_cut_the_solutions_and_labels_are_made_of_what_is_left(tmp_path: Path):
    restricted = ("--stop", '["\\nAnswer", "keep 9"]', "--top_p", "0.9", "--n_samples", "3")
    facts = run(tmp_path, 4, *restricted)
    solutions = [each.solution for each in read_records(tmp_path / "solutions.jsonl", GradedSolution)]
    assert facts["finish_reasons"] == {"stop": 12}
    assert not any("Answer" in solution.text or "keep 9" in solution.text for solution in solutions)
    assert all(bytes(solution.token_ids).decode() == solution.text for solution in solutions)
    whole = run(tmp_path / "whole", 4, "--n_samples", "3")
    texts = [each.solution.text for each in read_records(tmp_path / "whole" / "solutions.jsonl", GradedSolution)]
    assert whole["finish_reasons"] == {"eos": 12}
    assert all(text.startswith(solution.text) for text, solution in zip(texts, solutions, strict=True))  # the noise is the same


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--top_p", "0"), "top_p: got 0.0, expected more than 0"),
        (("--top_k", "-1"), "top_k: got -1, expected 0 .all tokens. or more"),
        (("--min_p", "2"), "min_p: got 2.0, expected 0"),
        (("--stop", "''"), "stop: got '', expected strings of at least one character"),
        (("--temperature", "-1"), "temperature: got -1.0, expected 0"),
    ],
)
def test_sampling_settings_out_of_range_are_refused_before_anything_is_written(tmp_path: Path, arguments: tuple[str, ...], message: str):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "new", 3, *arguments)
    assert not (tmp_path / "new").exists()


def test_a_run_that_goes_on_draws_nothing_again_and_costs_the_same(tmp_path: Path):
    first = run(tmp_path, 10)
    before = (tmp_path / "solutions.jsonl").read_bytes()
    again = run(tmp_path, 10, "--n_open", "1")  # how many are under way does not change what is drawn
    assert (tmp_path / "solutions.jsonl").read_bytes() == before
    assert again["this_process"]["n_draws"] == again["this_process"]["n_generated"] == 0
    assert again["n_generated"] == first["n_generated"] > 0


def test_the_draws_of_a_forecast_are_part_of_the_run(tmp_path: Path):
    run(tmp_path / "whole", 50)
    assert run(tmp_path / "begun", 50, "--forecast", "true") == {}
    with Ledger(tmp_path / "begun" / "ledger.sqlite", read_only=True) as ledger:
        assert ledger.n_draws() == 20 * 4
    assert run(tmp_path / "begun", 50)["this_process"]["n_draws"] == 30 * 4
    assert (tmp_path / "begun" / "solutions.jsonl").read_bytes() == (tmp_path / "whole" / "solutions.jsonl").read_bytes()


def test_forecasts_hold_the_true_cost(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    n_within = 0
    for seed in range(8):
        folder = tmp_path / str(seed)
        with caplog.at_level(logging.INFO):
            run(folder, 100, "--problems.seed", str(seed), "--forecast", "true")
        totals = json.loads((folder / "forecast-sample.json").read_text())["totals"]
        assert totals["n_draws"] == {"expected": 400.0, "low": 400.0, "high": 400.0}
        truth = run(folder, 100, "--problems.seed", str(seed))["n_generated"]
        n_within += totals["n_generated"]["low"] <= truth <= totals["n_generated"]["high"]
    assert n_within >= 6  # of 8, where 90 % are meant
    assert "forecast for 100 problems (90 % interval):\n                labels              400   [400, 400]" in caplog.text


def test_a_forecast_that_drew_nothing_tells_no_time(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run(tmp_path, 30, "--forecast", "true")
    assert "seconds" in json.loads((tmp_path / "forecast-sample.json").read_text())["totals"]
    with caplog.at_level(logging.INFO):
        run(tmp_path, 30, "--forecast", "true")
    assert "seconds" not in json.loads((tmp_path / "forecast-sample.json").read_text())["totals"]
    assert "no time: the pilot's draws were all in the ledger" in caplog.text


def test_a_dry_run_needs_no_model_and_answers_any_question(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    problems = tmp_path / "problems.jsonl"
    rows = [{"problem": f"What is {i}/7, and why?\nThink.", "answer": f"\\frac{{{i}}}{{7}}"} for i in range(1, 7)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["--output", str(tmp_path / "run"), "--problems.source", str(problems), "--policy.model", "no/such-model"]
    with caplog.at_level(logging.INFO):
        sample([*arguments, "--n_samples", "20", "--step_separator", "\n\n", "--dry_run", "true"])
    assert list((tmp_path / "run").iterdir()) == [tmp_path / "run" / "dry-run"]
    facts = json.loads((tmp_path / "run" / "dry-run" / "sample.json").read_text())
    assert facts["is_simulated"]
    assert facts["n_solutions"] == 120
    assert 0.4 < facts["pass_at_1"] < 0.85  # three to six steps, each right in nine of ten cases
    assert "tokens and seconds are those of a simulated policy" in caplog.text
    assert f"next: prm-train label --run {tmp_path / 'run'} --dry_run true" in caplog.text


@pytest.mark.parametrize("name", ["n_samples", "n_open"])
def test_at_least_one_is_asked_for(tmp_path: Path, name: str):
    with pytest.raises(InputError, match=f"{name}: got 0, expected at least 1"):
        run(tmp_path, 3, f"--{name}", "0")
