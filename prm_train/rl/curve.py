"""curve.jsonl: what a training by GRPO logged at each optimizer step, one line each, and its validations."""

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from data_gen.files.jsonl import write_text

# Of what TRL logs: what a reader of the curve asks for. Rewards and credit come with names of their own.
KEPT = ("loss", "reward", "reward_std", "frac_reward_zero_std", "kl", "entropy", "grad_norm", "step_time")
KEPT_PREFIXES = ("rewards/", "completions/", "outcome/", "orm/", "step_credit/", "monitor/")


class Curve(TrainerCallback):
    """Appends to the file as the training goes. Lines behind `step`, from which it goes on, are taken back:
    those steps are made again.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [line for line in read_curve(path) if line["step"] <= step] if path.exists() else []
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))

    def add(self, step: int, **values: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        kept = {
            name: round(value, 6)
            for name, value in logs.items()
            if isinstance(value, float | int) and (name in KEPT or name.startswith(KEPT_PREFIXES))
        }
        if state.is_world_process_zero and "reward" in kept:
            self.add(state.global_step, **kept)


def read_curve(path: Path) -> list[dict[str, Any]]:
    """A last line that a killed process cut short is left out."""
    whole = path.read_bytes().rpartition(b"\n")[0]
    return [json.loads(line) for line in whole.splitlines() if line]
