"""What a finished training says of itself: training/report.json, and the tables that a person sees while it
runs and when it ends.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_gen.files.result_tables import counted, number_table, result_table
from data_gen.settings.parse import dump_config
from prm_train.examples.examples import Example
from prm_train.metrics.training_report import LossPoint, TrainingReport, TrainingSeconds
from prm_train.training.settings import TrainingConfig


def training_report(
    config: TrainingConfig,
    state: Any,
    training: Sequence[Example],
    validation: Sequence[Example],
    left_out: Counter[str],
    cost: TrainingSeconds,
) -> TrainingReport:
    """What a reader asks of a finished training. The curve's losses are means since the entry before; one
    entry an evaluation.
    """
    shown = ("step", "loss", "grad_norm", "learning_rate")
    curve = tuple(
        LossPoint(**{name: entry[name] for name in shown}) for entry in state.log_history if "loss" in entry
    )
    evaluations: list[dict[str, float]] = []
    for entry in state.log_history:
        found = validation_metrics(entry)
        if "loss" in found:
            evaluations.append({"step": entry["step"], **found})
        elif found:
            evaluations[-1] |= found  # best-of-N, which follows a validation
    return TrainingReport(
        config=dump_config(config),
        model_is_folder=Path(config.model).is_dir(),
        n_steps=state.global_step,
        n_training_rows=len(training),
        n_training_labels=sum(len(example.targets) for example in training),
        n_training_tokens=sum(len(example.input_ids) for example in training),
        n_validation_rows=len(validation),
        left_out=dict(left_out),
        cost=cost,
        loss_curve=curve,
        validation=tuple(evaluations),
    )


def data_counts(
    training: Sequence[Example], validation: Sequence[Example], left_out: Counter[str]
) -> dict[str, int]:
    """Rows and labels by what became of them; the names of what was left out are
    `prm_train.examples.examples`' own.
    """
    parts = (("training", training), ("validation", validation))
    counts = {f"{name} rows": len(part) for name, part in parts}
    labels = {f"{name} labels": sum(len(example.targets) for example in part) for name, part in parts}
    return counts | labels | {f"left out: {reason}": n for reason, n in left_out.items()}


def validation_metrics(logs: dict[str, float]) -> dict[str, float]:
    """Of a log entry of the trainer, without its timing; empty where it is no validation."""
    timing = (
        "eval_runtime",
        "eval_samples_per_second",
        "eval_steps_per_second",
        "eval_model_preparation_time",
    )
    return {
        name.removeprefix("eval_"): value
        for name, value in logs.items()
        if name.startswith("eval_") and name not in timing
    }


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Without the numbers of single step positions, the loss first."""
    whole = {
        name: value for name, value in metrics.items() if not (name.startswith("step_") and "_at_" in name)
    }
    return number_table({name: whole.pop(name) for name in ("loss",) if name in whole} | whole)


def training_table(report: TrainingReport) -> str:
    """The last validation, and what it took."""
    rows = {
        "trained on": f"{report.n_training_rows:,} rows with {report.n_training_labels:,} labels, "
        f"{report.n_steps:,} steps",
        "left out": counted(report.left_out),
        "took": ", ".join(
            f"{value:,.1f} {name.replace('_', ' ')}" for name, value in vars(report.cost).items()
        ),
    }
    if not report.validation:
        return result_table(rows)
    return "\n".join(
        [
            result_table(rows),
            f"  validation on {report.n_validation_rows:,} rows",
            metrics_table(report.validation[-1]),
        ]
    )
