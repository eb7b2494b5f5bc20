"""The figures of finished runs: those of each seed, and differences over all seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.word_problems.first_errors import agreement, read_errors
from benchmarks.word_problems.stages import RunConfig, StageRecord
from data_gen.files.stored_record import read_object
from data_gen.process.machine import machine_name
from data_gen.settings.errors import InputError
from data_gen.settings.parse import load_yaml
from prm_train.evaluation.choosing import Chosen
from prm_train.evaluation.comparison import Comparison
from prm_train.evaluation.results import SearchReport
from prm_train.evaluation.shards import read_search
from prm_train.metrics.estimators import (
    Interval,
    expected_calibration_error,
    paired_difference,
    reliability_bins,
)
from prm_train.metrics.ranking import auroc, brier
from prm_train.metrics.training_seeds import interval_over_seeds
from prm_train.search.results import ProblemResult

Correct = Mapping[str, Mapping[int, NDArray[np.float64]]]  # by method and N, a value a problem
BARS = (("prm_weighted", "majority"), ("orm_weighted", "majority"), ("prm_weighted", "orm_weighted"))


def figure(interval: Interval) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(interval).items()}


def collected(folders: Sequence[Path]) -> dict[str, Any]:
    """Everything that benchmarks/results/word_problems.json holds. Raises InputError for runs that were
    tested on different problems.
    """
    runs = [(load_yaml(RunConfig, folder / "config.json"), folder) for folder in folders]
    for name in runs[0][0].test_sets:
        if len({(folder / "problems" / f"{name}.jsonl").read_bytes() for folder in folders}) > 1:
            raise InputError(
                f"collect: got runs with different problems in problems/{name}.jsonl, expected the same: "
                "their differences are taken problem by problem"
            )
    return {
        "seeds": [seed_figures(config, folder) for config, folder in runs],
        "over_seeds": {
            name: over_seeds([correct_of(config, folder, name) for config, folder in runs])
            for name in runs[0][0].test_sets
        },
        "model": model_name(runs[0][0].model),
        "task": runs[0][0].task,
        "problems": read_object(folders[0] / "problems" / "counts.json"),
        "machine": machine_of(*runs[0]),
    }


def model_name(model: str) -> str:
    """A Hub name as it is, a folder without where it lies on this machine."""
    return Path(model).name if Path(model).is_absolute() else model


def machine_of(config: RunConfig, folder: Path) -> str:
    """Where a run was made: it wrote figures of its own at its end, perhaps on another machine than this."""
    own = folder / "figures.json"
    if own.exists():
        return str(read_object(own)["machine"])
    if config.device == "cpu":
        return machine_name()
    import torch

    return f"{torch.cuda.get_device_name(config.device)}, {machine_name()}"


def seed_figures(config: RunConfig, folder: Path) -> dict[str, Any]:
    stages = [StageRecord.read(path) for path in sorted((folder / "stages").glob("*.json"))]
    return {
        "seed": config.seed,
        "sets": {name: set_figures(config, folder, name) for name in config.test_sets},
        "first_errors": agreement(read_errors(folder)),
        "cost": {
            "wall_seconds": round(sum(stage.wall_seconds for stage in stages)),
            "cpu_seconds": round(sum(stage.cpu_seconds for stage in stages)),
            "stages": {
                stage.name: {"wall_seconds": stage.wall_seconds, "cpu_seconds": stage.cpu_seconds}
                for stage in stages
            },
        },
    }


def set_figures(config: RunConfig, folder: Path, name: str) -> dict[str, Any]:
    report = SearchReport.read(folder / f"report-{name}" / "report.json")
    results = results_of(config, folder, name)
    aurocs = {each.name: each.within_problem_auroc for each in report.verifiers}
    single = {each.label: each.accuracy for each in report.single_samples}
    at = next(each for each in report.single_samples if each.temperature == results[0].temperature)
    paired: dict[str, dict[str, dict[str, float]]] = {}
    for pair in report.paired:
        paired.setdefault(f"{pair.method} minus {pair.baseline}", {})[str(pair.n)] = figure(pair.difference)
    return {
        "n_test_problems": len(results),
        "policy_pass_at_1": round(at.accuracy.mean, 4),
        "single_samples": {label: figure(interval) for label, interval in single.items()},
        "accuracy": {
            method: {str(n): figure(interval) for n, interval in curve.items()}
            for method, curve in report.accuracy.items()
        },
        **{
            f"{kind}_within_problem_auroc": round(aurocs[kind.upper()].mean, 4)
            for kind in ("prm", "orm")
            if kind.upper() in aurocs
        },
        "within_problem_auroc": {kind: figure(interval) for kind, interval in aurocs.items()},
        "paired": bars(correct_of(config, folder, name)) | paired,
        "calibration": {
            "prm": calibration(results, "prm"),
            "orm": calibration(results, "orm"),
            "prm, lowest step": calibration(results, "prm", of_steps=min),
        },
        "tokens": {
            method: {
                str(n): {name: round(value) for name, value in asdict(tokens).items()}
                for n, tokens in curve.items()
            }
            for method, curve in report.tokens.items()
        },
        "settings": dict(report.settings),
    }


def last(scores: Sequence[float]) -> float:
    return scores[-1]


def calibration(
    results: Sequence[ProblemResult], scorer: str, of_steps: Callable[[Sequence[float]], float] = last
) -> dict[str, Any]:
    """Of the score at the end of each candidate, as the probability that it is right; a candidate without a
    score or a verdict is left out. `auroc` is over all candidates of all problems.
    """
    pairs = [
        (of_steps(candidate.scores[scorer]), candidate.is_correct)
        for result in results
        for candidate in result.scored
        if candidate.scores.get(scorer) and not candidate.is_unknown
    ]
    scores, truths = [score for score, _ in pairs], [is_right for _, is_right in pairs]
    bins = reliability_bins(scores, truths)
    return {
        "n_candidates": len(pairs),
        "mean_score": round(float(np.mean(scores)), 4),
        "share_right": round(float(np.mean(truths)), 4),
        "expected_calibration_error": round(expected_calibration_error(bins), 4),
        "brier": round(brier(scores, truths), 4),
        "auroc": None if (area := auroc(scores, truths)) is None else round(area, 4),
        "bins": [
            {"mean_score": round(b.mean_score, 4), "share_right": round(b.share_correct, 4), "n": b.count}
            for b in bins
        ],
    }


def results_of(config: RunConfig, folder: Path, name: str) -> list[ProblemResult]:
    """By problem id, whatever shard they were in."""
    shards = [folder / f"{name}-{shard}" for shard in range(config.n_processes)]
    return sorted(read_search(shards).results, key=lambda result: result.problem.problem_id)


def correct_of(config: RunConfig, folder: Path, name: str) -> Correct:
    chosen = Chosen.read(folder / "chosen.json")
    return Comparison(results_of(config, folder, name), chosen, seed=0).correct()


def bars(correct: Correct) -> dict[str, dict[str, dict[str, float]]]:
    """The differences of `BARS` on one seed, at every N; a report has none of ORM-weighted."""
    return {
        f"{method} minus {baseline}": {
            str(n): figure(
                paired_difference(correct[method][n], correct[baseline][n], np.random.default_rng(0))
            )
            for n in sorted(set(correct[method]) & set(correct[baseline]))
        }
        for method, baseline in BARS
    }


def over_seeds(seeds: Sequence[Correct]) -> dict[str, dict[str, dict[str, float]]]:
    """The differences that the analysis reads, over problems and trainings. Its bars are about the intervals
    of each seed, which are in `paired` of that seed.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    trees = [name for name in seeds[0] if name in ("particle_filter", "dvts", "beam")]
    for method, baseline in (*BARS, *((tree, "prm_weighted") for tree in trees)):
        for n in sorted(set(seeds[0][method]) & set(seeds[0][baseline])):
            values = [seed[method][n] - seed[baseline][n] for seed in seeds]
            interval = interval_over_seeds(values, np.random.default_rng(0), "shared", bounds=(-1.0, 1.0))
            found.setdefault(f"{method} minus {baseline}", {})[str(n)] = figure(interval)
    return found


def table(figures: Mapping[str, Any], name: str) -> str:
    """Accuracies in percent on a test set, a line a method, the seeds beside each other."""
    seeds = [seed["sets"][name] for seed in figures["seeds"]]
    sizes = sorted({int(n) for seed in seeds for curve in seed["accuracy"].values() for n in curve})
    shown = [n for n in sizes if n in (1, 4, 16, 64)]
    lines = [
        f"| {name}, % solved | " + " | ".join(f"N = {n}" for n in shown) + " |",
        "|---" * (len(shown) + 1) + "|",
    ]
    greedy = " / ".join(f"{100 * seed['single_samples']['greedy']['mean']:.1f}" for seed in seeds)
    lines.append(f"| greedy | {greedy} |" + " – |" * (len(shown) - 1))
    for method in seeds[0]["accuracy"]:
        cells = [
            " / ".join(
                f"{100 * seed['accuracy'][method][str(n)]['mean']:.1f}"
                if str(n) in seed["accuracy"].get(method, {})
                else "–"
                for seed in seeds
            )
            for n in shown
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
