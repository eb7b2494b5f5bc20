"""What a training costs over all attempts at it: one that was broken off and resumed costs what both took."""

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from data_gen.files.jsonl import write_text
from prm_train.training.folder import COST

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
