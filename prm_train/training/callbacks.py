"""What is told of a training while it runs: how far it came, each validation, and what it costs over all attempts at it."""

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from data_gen.files.jsonl import write_text
from data_gen.files.progress_bar import Progress
from data_gen.files.result_tables import counted, number_table, result_table
from prm_train.metrics.training_report import TrainingReport
from prm_train.training.folder import COST

logger = logging.getLogger(__name__)
SECONDS_BETWEEN_STORES = 1.0


class TrainingCost(TrainerCallback):
    """Wall-clock and processor seconds of the main process, those of earlier attempts included. The clock starts with the object.

    They are stored in cost.json beside the checkpoints, with each of them and every second, so a killed attempt counts with all but its
    last second or step. Steps that were lost with it and are made again count twice: they were paid for twice.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / COST
        earlier = json.loads(self.path.read_text()) if self.path.exists() else {"wall_seconds": 0.0, "cpu_seconds": 0.0}
        self._wall_start = time.perf_counter() - earlier["wall_seconds"]
        self._cpu_start = time.process_time() - earlier["cpu_seconds"]
        self._stored_at = time.perf_counter()

    def so_far(self) -> dict[str, float]:
        wall, cpu = time.perf_counter() - self._wall_start, time.process_time() - self._cpu_start
        return {"wall_seconds": round(wall, 1), "cpu_seconds": round(cpu, 1)}

    def store(self) -> None:
        write_text(self.path, json.dumps(self.so_far()) + "\n")
        self._stored_at = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero and time.perf_counter() - self._stored_at >= SECONDS_BETWEEN_STORES:
            self.store()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.store()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.store()


class TrainingProgress(TrainerCallback):
    """Steps, time left and the last loss; one log line each validation."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.loss = ""
        self.progress: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.n_steps = state.global_step
            self.progress = Progress(self.name, state.max_steps, lambda: self.loss, "steps", state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.progress is not None:
            self.progress.update(state.global_step - self.n_steps)
            self.n_steps = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        if "loss" in logs:
            self.loss = f"loss {logs['loss']:.4f}"

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        if self.progress is not None:
            logger.info("%s, epoch %.4g:\n%s", self.name, state.epoch, _metrics_table(validation_metrics(metrics)))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.progress is not None:
            self.progress.close()


def validation_metrics(logs: dict[str, float]) -> dict[str, float]:
    """Of a log entry of the trainer, without its timing; empty where it is no validation."""
    timing = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "eval_model_preparation_time")
    return {name.removeprefix("eval_"): value for name, value in logs.items() if name.startswith("eval_") and name not in timing}


def _metrics_table(metrics: Mapping[str, float]) -> str:
    """Without the numbers of single step positions, the loss first."""
    whole = {name: value for name, value in metrics.items() if not (name.startswith("step_") and "_at_" in name)}
    return number_table({name: whole.pop(name) for name in ("loss",) if name in whole} | whole)


def training_table(report: TrainingReport) -> str:
    """The last validation, and what it took."""
    rows = {
        "trained on": f"{report.n_training_rows:,} rows with {report.n_training_labels:,} labels, {report.n_steps:,} steps",
        "left out": counted(report.left_out),
        "took": ", ".join(f"{value:,.1f} {name.replace('_', ' ')}" for name, value in vars(report.cost).items()),
    }
    if not report.validation:
        return result_table(rows)
    return "\n".join([result_table(rows), f"  validation on {report.n_validation_rows:,} rows", _metrics_table(report.validation[-1])])
