"""Tasks as the ranks of a datatrove pipeline of one step, on its executor for this machine, Slurm or Ray.

Not its `InferenceRunner`: what that generates is a text without token ids, of which no rollout could go on, and
its cache gives two equal requests one text. A task talks to the servers itself, as everywhere.
"""  # noqa: E501

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datatrove.pipeline.base import PipelineStep

from data_gen.files.stored_record import StoredRecord
from prm_train.launching.engines.protocol import Ended, Task
from prm_train.launching.engines.task_files import read_end, run_task, write_tasks
from prm_train.launching.settings import LaunchConfig

LAST_SECONDS = 40.0
RUN = "run.json"
MODULE = "prm_train.launching.engines.datatrove_tasks"


class TaskStep(PipelineStep):
    """Runs the task of its rank. A fault is left in a file: raised, it would end the other ranks."""

    name, type = "prm-train task", "Launch"

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterable[Any]:
        run_task(Path(self.folder), rank)
        return ()


@dataclass(frozen=True)
class Run(StoredRecord):
    """run.json: one run of an executor, as its process reads it."""

    WRITTEN_BY = "`prm-train launch`"

    folder: str
    n_tasks: int
    cpus: float
    gpus: float
    executor_name: str
    time: str
    n_parallel: int | None = None
    address: str | None = None
    partition: str | None = None

    def executor(self) -> Any:
        step, workers = TaskStep(self.folder), self.n_parallel or -1
        shared = {"tasks": self.n_tasks, "logging_dir": f"{self.folder}/datatrove", "workers": workers}
        if self.executor_name == "local":
            from datatrove.executor import LocalPipelineExecutor

            return LocalPipelineExecutor([step], **shared)
        resources = {"cpus_per_task": max(math.ceil(self.cpus), 1), "gpus_per_task": math.ceil(self.gpus)}
        if self.executor_name == "ray":
            import ray
            from datatrove.executor import RayPipelineExecutor

            ray.init(address=self.address, include_dashboard=False)
            return RayPipelineExecutor([step], **shared, **resources, mem_per_cpu_gb=1)
        from datatrove.executor import SlurmPipelineExecutor

        where = {"time": self.time, "partition": self.partition or "", "qos": ""}
        activate = f"{sys.prefix}/bin/activate"
        return SlurmPipelineExecutor([step], **shared, **resources, **where, venv_path=activate)


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


def main() -> None:
    Run.read(Path(sys.argv[1])).executor().run()


if __name__ == "__main__":
    # Under its own name, so that another process can unpickle what this one pickles
    from prm_train.launching.engines.datatrove_tasks import main as named_main

    named_main()
