"""`prm-train benchmark steps`: scores of steps against their labels, in any public format of step labels.

Labels are true, false or values in [0, 1]; a value counts as right from 0.5 up where a measure asks for true
or false. A step without a label, or without a score, is left out; how many lack a score is counted. Solutions
whose labels say where the first error is are also measured as in ProcessBench.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from data_gen.files.bad_rows import Skipped
from data_gen.formats.generic import read_row as read_generic_row
from data_gen.formats.lookup import FORMATS
from prm_train.benchmarking import first_errors
from prm_train.benchmarking.measures import (
    Measured,
    Places,
    Resamples,
    f1_good,
    f1_wrong,
    percent,
    step_counts,
)
from prm_train.benchmarking.rows import JudgedSolution, OfSolutions, files_of, read_judged
from prm_train.benchmarking.scored import Scored
from prm_train.benchmarking.settings import BenchmarkConfig
from prm_train.metrics.estimators import Interval, expected_calibration_error, reliability_bins
from prm_train.metrics.ranking import Floats, auroc, brier, within_problem_auroc

N_RESAMPLES = 500  # an AUROC sorts all steps each time
THRESHOLD = 0.5


@dataclass(frozen=True)
class Steps(OfSolutions):
    config: BenchmarkConfig

    def measure(self, found: Scored) -> Measured:
        measures: dict[str, Any] = {}
        lines: list[str] = []
        for name in dict.fromkeys(each.split for each in self.solutions):
            own = [each for each in self.solutions if each.split == name]
            measures[name] = measure_steps(
                own, [found.by_attempt[each.attempt] for each in own], self.config.seed
            )
            lines += [name, *table_lines(measures[name])]
        known = {
            name: [each for each in self.solutions if each.split == name and each.error is not None]
            for name in measures
        }
        splits = {
            name: first_errors.Split(own, [found.steps(each.attempt) for each in own], self.config.seed)
            for name, own in known.items()
            if own
        }
        results, mean, _ = first_errors.measure(splits, found.own_threshold)
        if splits:
            lines += ["", "first errors", first_errors.table(results, mean)]
        predictions = [
            {
                "id": each.row_id,
                "split": each.split,
                "question": each.attempt.question,
                "steps": list(each.attempt.steps),
                "labels": list(each.labels),
                "scores": list(found.by_attempt[each.attempt]),
            }
            for each in self.solutions
        ]
        return Measured(
            {"steps": measures, "first_errors": {"splits": results, "mean": mean}},
            predictions,
            "\n".join(lines),
        )


def measure_steps(
    solutions: Sequence[JudgedSolution], scores: Sequence[Sequence[float | None]], seed: int
) -> dict[str, Any]:
    """Measures of the labelled and scored steps of a split; those without a value are None."""
    kept = [
        (each.attempt.question, float(label), score)
        for each, row in zip(solutions, scores, strict=True)
        for label, score in zip(each.labels, row, strict=True)
        if label is not None and score is not None
    ]
    n_labeled = sum(label is not None for each in solutions for label in each.labels)
    measures: dict[str, Any] = {"n_steps": len(kept), "n_without_score": n_labeled - len(kept)}
    if not kept:
        return measures
    questions = [question for question, _, _ in kept]
    targets, values = (np.array([row[place] for row in kept]) for place in (1, 2))
    is_good = targets >= 0.5
    resamples = Resamples(questions, seed, N_RESAMPLES)

    def f1(which: Any, places: Places) -> float | None:
        found: float | None = which(step_counts(is_good[places], values[places] >= THRESHOLD))
        return found

    return measures | {
        "n_good": int(is_good.sum()),
        "auroc": resamples.interval(lambda places: auroc(values[places], is_good[places])),
        "within_problem_auroc": within_problem_auroc(values, is_good, questions),
        "brier": resamples.interval(lambda places: brier(values[places], targets[places])),
        "expected_calibration_error": _calibration_error(values, targets),
        "f1_of_good_steps": resamples.interval(partial(f1, f1_good)),
        "f1_of_wrong_steps": resamples.interval(partial(f1, f1_wrong)),
    }


def _calibration_error(values: Floats, targets: Floats) -> float:
    return expected_calibration_error(reliability_bins(values, targets))


def table_lines(measures: dict[str, Any]) -> list[str]:
    lines = [
        f"  {measures['n_steps']} labelled steps, {measures.get('n_good', 0)} of them right"
        + (f"; {measures['n_without_score']} more have no score" if measures["n_without_score"] else "")
    ]
    for name, found in measures.items():
        if isinstance(found, Interval):
            lines.append(f"  {name.replace('_', ' '):<28}{percent(found)}")
        elif isinstance(found, float):
            lines.append(f"  {name.replace('_', ' '):<28}{100 * found:>7.1f}")
    return lines


def read(config: BenchmarkConfig, skipped: Skipped) -> Steps:
    reader = (
        partial(read_generic_row, names=config.generic)
        if config.rows_format == "generic"
        else FORMATS[config.rows_format].read
    )
    solutions = [row for path in files_of(config.rows) for row in read_judged(config, path, reader, skipped)]
    return Steps(solutions, config)
