"""The process that runs tasks as the ranks of a datatrove pipeline of one step, on its executor for this
machine, Slurm or Ray: `python -m prm_train.launching.engines.datatrove_run FOLDER/run.json`.
"""

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datatrove.pipeline.base import PipelineStep

from data_gen.files.stored_record import StoredRecord
from prm_train.launching.engines.task_files import run_task

RUN = "run.json"


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


def main() -> None:
    Run.read(Path(sys.argv[1])).executor().run()


if __name__ == "__main__":
    # Under its own name, so that another process can unpickle what this one pickles
    from prm_train.launching.engines.datatrove_run import main as named_main

    named_main()
