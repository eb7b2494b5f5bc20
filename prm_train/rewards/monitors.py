"""What tells early that a policy learns the scorer's mistakes and not the task.

A scorer was trained on what an earlier policy wrote. As the policy moves on, the scorer tells right from
wrong less and less, and whatever raises its scores is found: more steps, longer or shorter texts, texts far
from the first policy's. Each is watched against the first logging steps of the same training; the remedy is
new labels on what the policy writes now.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback

from data_gen.settings.errors import InputError

logger = logging.getLogger(__name__)

# As TRL's GRPOTrainer and `StepCreditTrainer` log them; the KL only where `beta` is above 0
LENGTH, STEPS, AGREEMENT, KL = (
    "completions/mean_length",
    "step_credit/n_steps",
    "step_credit/auroc",
    "kl",
)
ALARM = "monitor/alarm"


@dataclass(frozen=True)
class MonitorLimits:
    """Means of the last `window` logged values are held against those of the first `window`."""

    window: int = 10
    most_growth: float = 2.0  # of length and number of steps: times the first
    least_share: float = 0.5  # of them, too: short texts have no step that could be wrong
    most_fall: float = 0.1  # of the AUROC with which the scorer tells right from wrong
    most_kl: float = 1.0  # nats a token

    def __post_init__(self) -> None:
        if self.window < 1 or self.most_growth <= 1 or not 0 <= self.least_share < 1 or self.most_fall <= 0:
            raise InputError(
                f"{self}: expected window of at least 1, most_growth above 1, least_share from 0 to below 1, "
                "most_fall above 0"
            )

    def reasons(self, values: Mapping[str, list[float]]) -> list[str]:
        """What is wrong, as sentences. `values` are all that were logged so far, by name."""
        found = []
        for name, noun in ((LENGTH, "tokens"), (STEPS, "steps")):
            first, last = self._means(values.get(name, []))
            if first and not first * self.least_share <= last <= first * self.most_growth:
                found.append(f"completions went from {first:.3g} to {last:.3g} {noun}")
        first, last = self._means(values.get(AGREEMENT, []))
        if last < first - self.most_fall:
            found.append(f"the scorer's AUROC against outcomes fell from {first:.3f} to {last:.3f}")
        _, last = self._means(values.get(KL, []))
        if last > self.most_kl:
            found.append(f"the KL to the first policy is {last:.3g} nats a token")
        return found

    def _means(self, values: list[float]) -> tuple[float, float]:
        """Of the first and of the last window, which do not overlap; equal until there are both."""
        first = sum(values[: self.window]) / max(len(values[: self.window]), 1)
        if len(values) < 2 * self.window:
            return first, first
        return first, sum(values[-self.window :]) / self.window


class RewardMonitor(TrainerCallback):
    """Warns once, naming all reasons, to stop and relabel; with `stops_training` it also ends the training.
    `alarm` is what it said, and from then on `monitor/alarm` is logged as 1.

    Give it to the trainer: `callbacks=[RewardMonitor()]`.
    """

    def __init__(self, limits: MonitorLimits | None = None, *, stops_training: bool = False) -> None:
        self.limits = limits or MonitorLimits()
        self.stops_training = stops_training
        self.alarm: str | None = None
        self._values: dict[str, list[float]] = defaultdict(list)

    def recall(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """What was logged before, where a training goes on. What it said then it says again."""
        for logs in lines:
            self._note(logs)

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: MutableMapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs is None or LENGTH not in logs:  # the summary at the end, an evaluation
            return
        self._note(logs)
        reasons = self.limits.reasons(self._values)
        if reasons and self.alarm is None:
            self.alarm = "; ".join(reasons)
            if state.is_world_process_zero:
                logger.warning(
                    "step %d: stop and relabel: %s. The policy learns what the scorer gets wrong; label what "
                    "it writes now and train the scorer again",
                    state.global_step,
                    self.alarm,
                )
        logs[ALARM] = float(self.alarm is not None)
        if state.log_history:  # what the trainer keeps of these logs it has copied already
            state.log_history[-1][ALARM] = logs[ALARM]
        if self.alarm is not None and self.stops_training:
            control.should_training_stop = True

    def _note(self, logs: Mapping[str, Any]) -> None:
        for name in (LENGTH, STEPS, AGREEMENT, KL):
            if logs.get(name) is not None:
                self._values[name].append(float(logs[name]))
