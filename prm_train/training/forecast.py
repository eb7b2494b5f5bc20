"""What a training will take: counts of its data, and the time and memory of a few optimizer steps that are
made for it and forgotten.
"""

import random
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import TrainerCallback

from data_gen.files.result_tables import counted, result_table
from data_gen.sampling.forecast import Total, forecast_total
from prm_train.examples.examples import Example
from prm_train.training.settings import CandidateSettings, TrainingConfig

N_MEASURED = 5  # optimizer steps, behind a first one in which buffers are made
N_COLLATED = 200  # at most so many batches of the loader are put together to learn how much is padding
GIB = 2**30
Config = TypeVar("Config", bound=TrainingConfig)


@dataclass(frozen=True)
class TrainingForecast:
    """`n_computed` tokens of an epoch, padding included (a row that stands in several pairs counts in each);
    `seconds` of all optimizer steps with the interval
    that holds them with 90 % probability; `seconds_before` the first one; of all validations, whose forward
    passes take a third of what as many tokens take in training. `peak_bytes` of one process in those steps:
    of its GPU, if it has one.
    """

    n_rows: int
    n_validation_rows: int
    left_out: Mapping[str, int]
    n_labels: int
    n_tokens: int
    n_longest: int
    n_computed: int
    n_padding: int
    n_steps: int
    n_measured: int
    seconds: Total
    seconds_before: float
    seconds_of_validation: float
    peak_bytes: int
    is_on_gpu: bool


def trial_config(config: Config, folder: Path) -> Config:
    """The same training, for a few steps in another folder: nothing is kept, nobody is told."""
    trial = replace(config, output=folder, forecast=False, keep="last", report_to="none")
    return replace(trial, candidates=None) if isinstance(trial, CandidateSettings) else trial


def trial_arguments(arguments: Any) -> Any:
    """The arguments of a Trainer, without validations and checkpoints."""
    arguments.eval_strategy = arguments.save_strategy = "no"
    return arguments


class StepClock(TrainerCallback):
    """Ends a training after a few steps; `seconds` has the time of each, `n_steps` how many all would be."""

    def __init__(self) -> None:
        self.n_steps, self.seconds = 0, list[float]()
        self._last = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.n_steps, self._last = state.max_steps, time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now
        if len(self.seconds) > N_MEASURED:  # the same on all processes
            control.should_training_stop = True


def measured(
    trainer: Any,
    examples: Sequence[Example],
    validation: Sequence[Example],
    left_out: Mapping[str, int],
    seconds_before: float,
) -> TrainingForecast:
    """Train for a few steps. All processes must come here."""
    clock, epochs, is_on_gpu = StepClock(), trainer.args.num_train_epochs, torch.cuda.is_available()
    n_tokens = sum(len(example.input_ids) for example in examples)
    n_computed, n_padding = computed_tokens(trainer, n_tokens)
    trainer.add_callback(clock)
    trainer.train()
    seconds = clock.seconds[1:] if len(clock.seconds) > 2 else clock.seconds
    total = forecast_total(seconds, clock.n_steps, random.Random(0))
    n_validations = ceil(epochs) if validation else 0
    n_validated = n_validations * sum(len(example.input_ids) for example in validation)
    return TrainingForecast(
        n_rows=len(examples),
        n_validation_rows=len(validation),
        left_out=left_out,
        n_labels=sum(len(example.targets) for example in examples),
        n_tokens=n_tokens,
        n_longest=max(len(example.input_ids) for example in examples),
        n_computed=n_computed,
        n_padding=n_padding,
        n_steps=clock.n_steps,
        n_measured=len(seconds),
        seconds=total,
        seconds_before=seconds_before,
        seconds_of_validation=total.expected / (epochs * n_computed) * n_validated / 3,
        peak_bytes=torch.cuda.max_memory_allocated() if is_on_gpu else _resident_bytes(),
        is_on_gpu=is_on_gpu,
    )


def computed_tokens(trainer: Any, n_tokens: int) -> tuple[int, int]:
    """Of an epoch over all processes, and how many of them are padding: exact where an epoch has few batches.

    `n_tokens` are those of the rows, of which trainers whose passes have no attention mask compute each once.
    """
    loader, n_batches, n_computed, n_read = trainer.get_train_dataloader(), 0, 0, 0
    for batch in islice(loader, N_COLLATED):
        n_batches += 1
        for part in batch.get("batches", (batch,)):
            n_computed += part["input_ids"].numel()
            n_read += int(part["attention_mask"].sum()) if "attention_mask" in part else 0
    share = len(loader) / n_batches * trainer.args.world_size
    computed = round(n_computed * share)
    return computed, computed - (round(n_read * share) if n_read else n_tokens)


def _resident_bytes() -> int:
    """The most that this process has had in memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forecast_table(found: TrainingForecast) -> str:
    total, per_step = found.seconds, found.seconds.expected / found.n_steps
    share = found.n_padding / found.n_computed
    padding = f", {share:.0%} of them padding" if share >= 0.005 else ""
    computed = f"{found.n_computed:,} are computed{padding}"
    whole = found.seconds_before + total.expected + found.seconds_of_validation
    rows = {
        "rows": f"{found.n_rows:,} to train on with {found.n_labels:,} labels, "
        f"{found.n_validation_rows:,} to validate on",
        "left out": counted(found.left_out),
        "tokens": f"{found.n_tokens:,} an epoch, the longest row {found.n_longest:,}; {computed}",
        "steps": f"{found.n_steps:,}, of which {found.n_measured} were measured",
        "time": f"{whole:,.0f} s: {found.seconds_before:,.0f} before the first step, {total.expected:,.0f} "
        f"[{total.low:,.0f}, {total.high:,.0f}] for the steps, {per_step:.3g} each, about "
        f"{found.seconds_of_validation:,.0f} for validation",
        "peak memory": f"{found.peak_bytes / GIB:,.2f} GiB of "
        + ("the GPU" if found.is_on_gpu else "the process")
        + " in these steps",
    }
    return result_table(rows)
