"""What happens beside the steps of a training: it shows how far it came, counts its cost, saves itself and
reports to a tracker.

The callback that compares best-of-N at each validation has a file to itself, `prm_train.training.best_of_n`.
"""

import json
import logging
import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback, WandbCallback

from data_gen.files.progress_bar import Progress
from data_gen.settings.errors import InputError
from data_gen.settings.parse import dump_config
from prm_train.metrics.training_report import TrainingSeconds
from prm_train.training.folder import COST
from prm_train.training.report import metrics_table, validation_metrics
from prm_train.training.settings import TrainingConfig

logger = logging.getLogger(__name__)

Tracker = Literal["none", "wandb", "tensorboard"]
SECONDS_BETWEEN_STORES = 1.0


class TrainingCost(TrainerCallback):
    """Wall-clock and processor seconds of the main process, those of earlier attempts included. The clock
    starts with the object.

    They are stored in cost.json beside the checkpoints, with each of them and every second, so a killed
    attempt counts with all but its last second or step. Steps that were lost with it and are made again count
    twice: they were paid for twice.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / COST
        earlier = TrainingSeconds.read(self.path) if self.path.exists() else TrainingSeconds()
        self._wall_start = time.perf_counter() - earlier.wall_seconds
        self._cpu_start = time.process_time() - earlier.cpu_seconds
        self._stored_at = time.perf_counter()

    def so_far(self) -> TrainingSeconds:
        wall, cpu = time.perf_counter() - self._wall_start, time.process_time() - self._cpu_start
        return TrainingSeconds(round(wall, 1), round(cpu, 1))

    def store(self) -> None:
        self.so_far().write(self.path)
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
            self.progress = Progress(
                self.name, state.max_steps, lambda: self.loss, "steps", state.global_step
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.progress is not None:
            self.progress.update(state.global_step - self.n_steps)
            self.n_steps = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        if "loss" in logs:
            self.loss = f"loss {logs['loss']:.4f}"

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any
    ) -> None:
        if self.progress is not None:
            logger.info(
                "%s, epoch %.4g:\n%s", self.name, state.epoch, metrics_table(validation_metrics(metrics))
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.progress is not None:
            self.progress.close()


class SaveAfterValidation(TrainerCallback):
    """A checkpoint that is due at the last step of an epoch waits for the epoch's validation, so that it
    holds its figures.
    """

    def __init__(self) -> None:
        self.is_waiting = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if control.should_save and (state.epoch.is_integer() or state.global_step >= state.max_steps):
            control.should_save, self.is_waiting = False, True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_save |= self.is_waiting
        self.is_waiting = False


# --- trackers


def tracker(wanted: Tracker, folder: Path) -> Tracker:
    """What a training can report to: TensorBoard instead of a wandb that is not installed, or that has no
    account and is not offline.

    Wandb's files go to `folder`, as TensorBoard's do, unless WANDB_DIR says otherwise. Raises InputError if
    neither is installed.
    """
    if wanted == "wandb" and (problem := _wandb_problem()):
        logger.warning(
            "report_to wandb: %s; reporting to TensorBoard instead, in %s", problem, folder / "runs"
        )
        wanted = "tensorboard"
    if wanted == "tensorboard" and find_spec("tensorboard") is None:
        raise InputError(
            "report_to: tensorboard is not installed; expected `pip install 'prm-train[tensorboard]'`, or "
            "report_to none"
        )
    if wanted == "wandb":
        os.environ.setdefault("WANDB_PROJECT", "prm-train")
        os.environ.setdefault("WANDB_DIR", str(folder))
    return wanted


def _wandb_problem() -> str | None:
    if find_spec("wandb") is None:
        return "wandb is not installed (`pip install 'prm-train[wandb]'`)"
    if os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun") or os.environ.get("WANDB_API_KEY"):
        return None
    import wandb

    return (
        None
        if wandb.login(prompt=False)
        else "wandb has no account here (`wandb login`, or WANDB_MODE=offline)"
    )


def finish_tracking(trainer: Any) -> None:
    """End the wandb run, so that the next training of the process begins one of its own."""
    if trainer.is_world_process_zero() and any(
        isinstance(each, WandbCallback) for each in trainer.callback_handler.callbacks
    ):
        import wandb

        wandb.finish()


class TrackedRun(TrainerCallback):
    """Tells the tracker once what is trained on what: the whole configuration, and the rows and labels that
    were kept or left out.
    """

    def __init__(self, trainer: Any, config: TrainingConfig, data: dict[str, int]) -> None:
        self.trainer, self.config, self.data = trainer, dump_config(config), data

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Comes after the trackers' own, which begin their run."""
        if not state.is_world_process_zero or state.global_step:  # a resumed run has said it
            return
        for tracker in self.trainer.callback_handler.callbacks:
            if isinstance(tracker, WandbCallback):
                import wandb

                wandb.config.update({"prm_train": self.config, "data": self.data}, allow_val_change=True)
            elif isinstance(tracker, TensorBoardCallback):
                tracker.tb_writer.add_text(
                    "prm_train", f"```\n{json.dumps({**self.config, 'data': self.data}, indent=1)}\n```"
                )
        self.trainer.log({f"data/{name.replace(' ', '_')}": number for name, number in self.data.items()})
