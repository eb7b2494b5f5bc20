"""The jobs of two rounds of distillation, and what is measured of their students, by hand."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.distill import AGAIN, ARMS, FILTER, DistillConfig, jobs, write_held_out
from benchmarks.distill_figures import (
    MEASURES,
    Making,
    against_teacher,
    difference,
    making_figures,
    measured,
    table,
    teaching_cost,
)
from data_gen.files.jsonl import read_jsonl
from data_gen.records.solutions import Problem
from data_gen.rows.settings import BuildConfig
from data_gen.settings.parse import parse_config
from prm_train.evaluation.results import TokensPerProblem
from prm_train.evaluation.shards import FinishedSearch
from prm_train.search.results import Difficulty, ProblemResult, StrategyRun, Usage
from prm_train.search.settings import SearchConfig
from prm_train.strategies.candidates import Candidate
from prm_train.training.config import TrainPolicyConfig

CLASSES: dict[str, type[Any]] = {
    "prm_train.search.run": SearchConfig,
    "data_gen.build": BuildConfig,
    "prm_train.train_policy": TrainPolicyConfig,
}


@pytest.fixture
def config(tmp_path: Path) -> DistillConfig:
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "quickstart" / "config.json").write_text('{"seed": 4, "n_train_problems": 50}')
    return DistillConfig(
        tmp_path / "quickstart", tmp_path / "run", n_problems=20, n_test_problems=5, n_seeds=2
    )


def test_every_job_is_a_command_that_reads_what_jobs_before_it_wrote(config: DistillConfig) -> None:
    written: set[Path] = set()
    done: set[str] = set()
    for job in jobs(config):
        command = job.arguments()
        parsed = parse_config(CLASSES[command[0]], command[1:])
        assert done.issuperset(job.needs)
        if isinstance(parsed, BuildConfig):
            assert written.issuperset(parsed.runs)
        elif isinstance(parsed, TrainPolicyConfig):
            assert parsed.rows.parent in written
        elif parsed.policy.model != "base":
            assert Path(parsed.policy.model) in written
        assert parsed.output not in written
        written.add(parsed.output)
        done.add(job.name)
    assert len(done) == 3 + 2 * (3 * len(ARMS) + 7 * len(AGAIN))
    first = [job.name for job in jobs(replace(config, n_rounds=1))]
    assert done.issuperset(first)
    assert len(first) == 2 + 2 * 3 * len(ARMS)


def test_no_problem_of_a_round_is_one_of_the_prm_of_another_round_or_of_the_test(
    config: DistillConfig,
) -> None:
    found = {}
    for job in jobs(config):
        command = job.arguments()
        if command[0] == "prm_train.search.run":
            problems = parse_config(SearchConfig, command[1:]).problems
            found[job.name] = problems.split, problems.offset, problems.n
    teachers = {each for name, each in found.items() if name.startswith("teacher")}
    assert teachers == {("train", 50, 20), ("train", 70, 20)}
    assert {each for name, each in found.items() if name.startswith("test")} == {("test", 0, 5)}
    assert found["teacher-vote-again-1"] == found["teacher-2"]
    config.output.mkdir()
    write_held_out(config)
    assert len(list(read_jsonl(config.output / "held_out.jsonl"))) == 5


def test_a_second_round_has_as_many_teachers_as_its_control(config: DistillConfig) -> None:
    commands = {job.name: job.arguments() for job in jobs(config)}
    runs = {
        name: [run.name for run in parse_config(BuildConfig, commands[f"build-{name}"][1:]).runs]
        for name in ("search-0", "search-again-0", "search-more-0")
    }
    assert runs == {
        "search-0": ["base-1"],
        "search-again-0": ["base-1", "search-0-2"],
        "search-more-0": ["base-1", "base-2"],
    }
    assert FILTER in commands["teacher-search-again-0"]
    assert FILTER not in commands["teacher-vote-again-0"]


def run_of(spec: str, temperature: float, rights: list[bool], scores: list[float]) -> StrategyRun:
    candidates = tuple(
        Candidate("p", i, f"{i}", str(right), right, scores={"prm": (score, 1.0)})
        for i, (right, score) in enumerate(zip(rights, scores, strict=True))
    )
    return StrategyRun(
        spec, len(rights), temperature, candidates, settings={"aggregation": "prod", "vote": "score"}
    )


def test_measures_of_a_problem_by_hand(tmp_path: Path) -> None:
    runs = (
        run_of("greedy", 0.0, [False], [0.1]),
        run_of("samples", 1.0, [True, False, False, False], [0.9, 0.2, 0.2, 0.2]),
        run_of("samples", 0.5, [True, True, True, False], [0.9] * 4),
        run_of(FILTER, 1.0, [False, False, False, True], [0.5] * 4),
    )
    result = ProblemResult(Problem("p", "?", "True"), 1.0, runs, (), Difficulty(0, 0), Usage())
    settings = SearchConfig(tmp_path, prm="prm", n_samples=4, strategies=(FILTER,), sizes=(4,))
    values = measured(FinishedSearch((tmp_path,), settings, {}, (result,)))
    assert {name: each.tolist() for name, each in values.items()} == {
        "greedy": [0.0],
        "sample": [0.25],
        "cold": [0.75],
        "vote": [1.0],  # 0.9 against three of 0.2
        "search": [0.0],
        "pass": [1.0],
    }


def test_differences_are_of_the_same_problems_seed_by_seed() -> None:
    one = [{"sample": np.array([0.5, 1.0])}, {"sample": np.array([0.7, 0.8])}]
    other = [{"sample": np.array([0.3, 0.8])}, {"sample": np.array([0.5, 0.6])}]
    found = difference(one, other, "sample", np.random.default_rng(0))
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.2, 0.2), abs=0.4)
    assert found.mean == pytest.approx(0.2)
    taught = [{"vote": np.array([0.9, 0.9])}] * 2
    beside = against_teacher(one, taught, "sample", "vote", np.random.default_rng(0))
    assert beside.mean == pytest.approx(-0.15)


def test_a_student_has_repaid_its_making_after_so_many_questions() -> None:
    costs = {
        "sample": TokensPerProblem(50, flops=10.0),
        "majority": TokensPerProblem(800, flops=150.0),
        "vote": TokensPerProblem(800, 600, flops=210.0),
        "search": TokensPerProblem(700, 500, flops=190.0),
    }
    assert [teaching_cost(costs, arm).flops for arm in ARMS] == [150.0, 150.0, 210.0, 210.0, 190.0]
    making = Making(10, 5, 0.8, {}, costs["vote"], 1000, 4000.0)
    assert making_figures(making, "vote-again", costs)["repaid_after"] == 20
    assert making_figures(making, "star", costs)["repaid_after"] is None
    assert making_figures(replace(making, flops=None), "vote", costs)["repaid_after"] is None


def test_the_table_of_the_page_is_that_of_the_stored_figures() -> None:
    root = Path(__file__).parents[2]
    stored = json.loads((root / "benchmarks/results/distill.json").read_text())
    assert table(stored) in (root / "docs/distillation.md").read_text()


def test_the_table_marks_differences_whose_interval_does_not_hold_0() -> None:
    sure, unsure = {"mean": 0.1, "low": 0.05, "high": 0.15}, {"mean": 0.1, "low": -0.05, "high": 0.25}
    found = {
        "n_samples": 16,
        "accuracy": {"base": dict.fromkeys(MEASURES, sure)},
        "differences": {"vote - base": {**dict.fromkeys(MEASURES, unsure), "greedy": sure}},
    }
    lines = table(found).splitlines()
    assert "particle filter of 16 | pass@16 |" in lines[0]
    assert lines[2].startswith("| base | 10.0 (5.0 to 15.0) |")
    assert lines[3].startswith("| vote - base | +10.0* (+5.0 to +15.0) | +10.0 (-5.0 to +25.0) |")
