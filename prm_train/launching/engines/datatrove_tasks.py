"""Tasks as the ranks of a datatrove pipeline of one step, which a process of its own runs (`datatrove_run`).

Not datatrove's `InferenceRunner`: what that generates is a text without token ids, of which no rollout could go
on, and its cache gives two equal requests one text. A task talks to the servers itself, as everywhere.
"""  # noqa: E501

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from prm_train.launching.engines.datatrove_run import RUN, Run
from prm_train.launching.engines.protocol import Ended, Task
from prm_train.launching.engines.task_files import read_end, write_tasks
from prm_train.launching.settings import LaunchConfig

LAST_SECONDS = 40.0
MODULE = "prm_train.launching.engines.datatrove_run"


class DatatroveTasks:
    """See `prm_train.launching.engines.protocol.Engine`. `folder` is seen by all nodes."""

    def __init__(self, config: LaunchConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._runs: list[tuple[Path, dict[int, str], subprocess.Popen[bytes]]] = []

    def start(self, tasks: Sequence[Task]) -> None:
        if not tasks:
            return
        folder = self._folder / time.strftime(f"%Y%m%d-%H%M%S-{len(self._runs)}")
        write_tasks(folder, tasks)
        config = self._config
        which = (config.executor, config.time, config.n_parallel, config.address, config.partition)
        Run(str(folder), len(tasks), tasks[0].cpus, tasks[0].gpus, *which).write(folder / RUN)
        with (folder / "datatrove.txt").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(folder / RUN)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._runs.append((folder, {number: task.key for number, task in enumerate(tasks)}, process))

    def ended(self) -> list[Ended]:
        found = []
        for folder, keys, process in self._runs:
            is_over = process.poll() is not None and (self._config.executor != "slurm" or process.returncode)
            for number, key in list(keys.items()):
                ended = read_end(folder, number)
                if ended is None and is_over:
                    ended = Ended(key, f"datatrove ended without it; see {folder}/datatrove.txt")
                if ended is not None:
                    found.append(ended)
                    del keys[number]
        return found

    def stop(self) -> None:
        for _, keys, process in self._runs:
            if keys and process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for _, _, process in self._runs:
            try:
                process.wait(LAST_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
