"""The figures of a pipeline on a card, of whatever stages are done."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.pipeline_state import State, chunk_folder, chunk_name
from benchmarks.word_problems.figures import Correct
from benchmarks.word_problems.stages import TREE_SIZES, RunConfig
from data_gen.files.stored_record import read_object
from prm_train.evaluation.choosing import choose_settings
from prm_train.evaluation.comparison import Comparison
from prm_train.evaluation.shards import read_search
from prm_train.metrics.estimators import Interval, paired_difference
from prm_train.metrics.training_report import TrainingReport

DIFFERENCES = (
    ("prm_weighted", "majority"),
    ("orm_weighted", "majority"),
    ("prm_weighted", "orm_weighted"),
    ("beam", "prm_weighted"),
    ("particle_filter", "prm_weighted"),
)


def figures_of(config: RunConfig, state: State) -> dict[str, Any]:
    """JSON-able. Seconds of stages hold the loading of models."""
    run, train, validation = config.output, config.shards("train")[0], config.shards("validation")[0]
    found: dict[str, Any] = {
        "stages": dict(state.seconds),
        "broken_off": dict(state.broken_off),
        "peak_gib": dict(state.peak_gib),
        "n_rollouts": state.n_rollouts,
    }
    for kind in ("policy", "prm", "orm"):
        report = TrainingReport.of(run / kind)
        if report is not None:
            found[f"train_{kind}"] = training_figures(report)
    if "sample" in state.seconds:
        names = ("n_problems", "n_solutions", "pass_at_1", "verdicts", "finish_reasons")
        found["sample"] = drawn_figures(train / "sample.json", names)
    if "label" in state.seconds:
        names = ("n_labeled_solutions", "n_wrong_solutions", "labels", "unlabeled", "n_rollouts")
        found["label"] = drawn_figures(train / "label.json", names)
    if "search-validation" in state.seconds:
        found["search_validation"] = search_rates([validation])
    done = [i for i in range(len(state.chunks)) if chunk_name(i) in state.seconds]
    if done:
        folders = [chunk_folder(config, i) for i in done]
        found["search"] = search_rates(folders) | search_figures(validation, folders)
    return found


def training_figures(report: TrainingReport) -> dict[str, Any]:
    """`wall_seconds` hold validation and the saving of epochs, too; tokens are those of rows, without
    padding.
    """
    return {
        "n_rows": report.n_training_rows,
        "n_labels": report.n_training_labels,
        "n_steps": report.n_steps,
        "n_tokens": round(report.n_tokens_seen),
        "wall_seconds": round(report.cost.wall_seconds, 2),
        "tokens_per_second": round(report.n_tokens_seen / max(report.cost.wall_seconds, 1e-9)),
        "left_out": dict(report.left_out),
        "loss_curve": [[point.step, round(point.loss, 4)] for point in report.loss_curve],
        "held_out": dict(report.validation[-1]) if report.validation else None,
        "n_held_out_rows": report.n_validation_rows,
        "calibration": None if report.calibration is None else asdict(report.calibration),
        "parity": None if report.parity is None else asdict(report.parity),
    }


def drawn_figures(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Of sample.json or label.json; rates are those of the process that ended it."""
    summary = read_object(path)
    process = summary["this_process"]
    rates = ("seconds", "cpu_seconds", "tokens_per_second", "draws_per_second", "labels_per_second")
    tokens = ("n_generated", "n_prefilled", "n_cached")
    return {name: summary[name] for name in (*names, *tokens)} | {
        name: round(process[name], 3) for name in rates
    }


def search_rates(folders: Sequence[Path]) -> dict[str, Any]:
    """Of finished searches: seconds are those of the searches alone, without loading of models."""
    names = ("n_problems", "n_candidates", "n_without_score", "n_generated", "n_scorer_new", "seconds")
    summaries = [read_object(folder / "search.json") for folder in folders]
    total = {name: sum(summary[name] for summary in summaries) for name in names}
    return total | {
        "n_failed": sum(len(summary["failed"]) for summary in summaries),
        "problems_per_second": round(total["n_problems"] / total["seconds"], 3),
        "policy_tokens_per_second": round(total["n_generated"] / total["seconds"]),
    }


def search_figures(validation: Path, tests: Sequence[Path]) -> dict[str, Any]:
    """Accuracies at each N, differences on the same problems, and AUROC within problems, each as [mean, low,
    high] of its 95 % interval over problems; tokens a problem as [drawn, read by the scorer].
    """
    chosen = choose_settings(read_search([validation]).results)
    comparison = Comparison(read_search(tests).results, chosen, seed=0)
    correct = {
        name: {n: values for n, values in curve.items() if n in (1, *TREE_SIZES)}
        for name, curve in comparison.correct().items()
        if not name.endswith(("_early", "_margin"))  # replays that stop sooner
    }
    return {
        "single_samples": {
            f"T={each.temperature:g}": ends(each.accuracy) for each in comparison.single_samples()
        },
        "accuracy": {
            method: {str(n): ends(comparison.interval(values)) for n, values in curve.items()}
            for method, curve in correct.items()
        },
        "tokens_per_problem": {
            method: {str(n): [round(at[n].n_generated, 1), round(at[n].n_scorer, 1)] for n in correct[method]}
            for method, at in comparison.tokens().items()
            if method in correct
        },
        "differences": differences(correct),
        "within_problem_auroc": {
            each.name: ends(each.within_problem_auroc) for each in comparison.verifiers()
        },
    }


def differences(correct: Correct) -> dict[str, dict[str, list[float]]]:
    return {
        f"{method} minus {baseline}": {
            str(n): ends(
                paired_difference(correct[method][n], correct[baseline][n], np.random.default_rng(0))
            )
            for n in sorted(set(correct[method]) & set(correct[baseline]))
        }
        for method, baseline in DIFFERENCES
        if {method, baseline} <= set(correct)
    }


def ends(interval: Interval) -> list[float]:
    return [round(value, 4) for value in (interval.mean, interval.low, interval.high)]
