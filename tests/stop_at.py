"""A training that is broken off."""

from typing import Any

from transformers import TrainerCallback


class StopAt(TrainerCallback):
    """Ends the training after so many optimizer steps."""

    def __init__(self, n_steps: int) -> None:
        self.n_steps = n_steps

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == self.n_steps
