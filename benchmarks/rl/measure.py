"""A seed's figures, from the folders of its trainings and searches."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.rl.measured import Arm, Curve, Measured, Searched
from benchmarks.rl.plan import ARMS, SEARCHED, RlConfig
from data_gen.grading.pass_at_k import pass_at_k
from data_gen.settings.errors import InputError
from prm_train.evaluation.choosers import scorer_scores, vote_by
from prm_train.evaluation.choosing import accuracies
from prm_train.rewards.monitors import MonitorLimits, first_alarm
from prm_train.rl.curve import read_curve
from prm_train.rl.folder import REPORT
from prm_train.rl.training import CURVE, GrpoReport
from prm_train.search.results import ProblemResult, read_results

N_WEIGHTED = 16


def measure(config: RlConfig, cpu_seconds: dict[str, float], machine: str) -> Measured:
    """Raises InputError where a problem of a search failed."""
    return Measured(
        seed=config.seed,
        settings={
            "n_steps": config.n_steps,
            "n_completions": config.n_prompts * config.n_generations,
            "learning_rate": config.learning_rate,
            "n_validation_problems": config.n_validation_problems,
            "n_test_problems": config.n_test_problems,
        },
        arms={arm: measured_arm(config.output / arm / "training") for arm in ARMS},
        searched={arm: measured_search(config.search(arm) / "results.jsonl") for arm in SEARCHED},
        cpu_seconds=cpu_seconds,
        machine=machine,
    )


def measured_arm(folder: Path) -> Arm:
    lines, report = read_curve(folder / CURVE), GrpoReport.read(folder / REPORT)
    return Arm(
        solved=curve_of(lines, "validation/solved"),
        n_tokens=curve_of(lines, "completions/mean_length"),
        n_steps=curve_of(lines, "step_credit/n_steps"),
        auroc=curve_of(lines, "step_credit/auroc"),
        n_generated=report.n_tokens,
        n_steps_of_training=report.n_steps,
        cpu_seconds=report.cpu_seconds,
        alarm_at=first_alarm(lines, MonitorLimits()),
    )


def curve_of(lines: Sequence[Mapping[str, Any]], name: str) -> Curve:
    return [[line["step"], round(line[name], 4)] for line in lines if name in line]


def measured_search(path: Path) -> Searched:
    results = read_results(path)
    failed = [result.problem.problem_id for result in results if result.failure]
    if failed or not results:
        raise InputError(f"{path}: {len(failed)} of {len(results)} problems failed, expected results of all")
    results.sort(key=lambda result: result.problem.problem_id)
    weighted = accuracies(
        results, results[0].temperature, partial(vote_by, scorer_scores("prm", "min")), N_WEIGHTED
    )
    return Searched(
        greedy=[float(bool(result.greedy.is_correct)) for result in results],
        pass_at_1=[solved(result, 1) for result in results],
        pass_at_64=[solved(result, len(result.scored)) for result in results],
        weighted_16=[round(float(each), 4) for each in weighted],
    )


def solved(result: ProblemResult, k: int) -> float:
    n_right = sum(bool(each.is_correct) for each in result.scored)
    return round(pass_at_k(len(result.scored), n_right, k), 4)
