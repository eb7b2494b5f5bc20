"""Tasks as job arrays of Slurm. `launch/slurm/` holds batch scripts for those who want to submit by hand."""

import math
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from data_gen.settings.errors import InputError
from prm_train.launching.engines.protocol import Ended, Task
from prm_train.launching.engines.task_files import read_end, write_tasks
from prm_train.launching.settings import LaunchConfig

ASK_SECONDS = 10.0  # between two looks into Slurm's queue
GRACE_SECONDS = 30.0  # until the file of a job that has left the queue is seen here
ENDING = "--signal=B:TERM@120"  # so long before a job's time is over it is told to end


class SlurmArray:
    """See `prm_train.launching.engines.protocol.Engine`. `folder` is seen by all nodes."""

    def __init__(self, config: LaunchConfig, folder: Path) -> None:
        if shutil.which("sbatch") is None:
            raise InputError("engine: there is no sbatch here; expected a machine that reaches Slurm")
        self._config, self._folder = config, folder
        self._arrays: dict[str, tuple[Path, dict[int, str]]] = {}  # by job: its files, keys by number
        self._gone_since: dict[tuple[str, int], float] = {}
        self._asked_at, self._queued = 0.0, set[tuple[str, int]]()

    def start(self, tasks: Sequence[Task]) -> None:
        if not tasks:
            return
        folder = self._folder / time.strftime(f"%Y%m%d-%H%M%S-{len(self._arrays)}")
        write_tasks(folder, tasks)
        python, module = sys.executable, "prm_train.launching.engines.task_files"
        limit = f"%{self._config.n_parallel}" if self._config.n_parallel else ""
        options = [f"--array=0-{len(tasks) - 1}{limit}", f"--output={folder}/%a.txt", "--requeue", ENDING]
        options += [f"--time={self._config.time}", f"--cpus-per-task={max(math.ceil(tasks[0].cpus), 1)}"]
        options += [f"--gpus-per-task={math.ceil(tasks[0].gpus)}"] if tasks[0].gpus else []
        options += [f"--partition={self._config.partition}"] if self._config.partition else []
        script = f"exec {python} -m {module} {folder} $SLURM_ARRAY_TASK_ID"
        job = _run("sbatch", "--parsable", "--job-name=prm-launch", *options, f"--wrap={script}")
        keys = {number: task.key for number, task in enumerate(tasks)}
        self._arrays[job.strip().split(";")[0]] = folder, keys
        self._asked_at = 0.0

    def ended(self) -> list[Ended]:
        found = []
        self._ask_queue()
        for job, (folder, keys) in self._arrays.items():
            for number, key in list(keys.items()):
                ended = read_end(folder, number) or self._vanished(job, number, key, folder)
                if ended is not None:
                    found.append(ended)
                    del keys[number]
        return found

    def stop(self) -> None:
        jobs = [job for job, (_, keys) in self._arrays.items() if keys]
        if jobs:
            _run("scancel", *jobs)

    def _ask_queue(self) -> None:
        jobs = [job for job, (_, keys) in self._arrays.items() if keys]
        if jobs and time.monotonic() - self._asked_at > ASK_SECONDS:
            self._asked_at = time.monotonic()
            said = _run(
                "squeue", "--noheader", "--array", "--format=%F %K", f"--jobs={','.join(jobs)}", check=False
            )
            lines = (line.split() for line in said.splitlines())
            self._queued = {(job, int(number)) for job, number in lines if number.isdecimal()}

    def _vanished(self, job: str, number: int, key: str, folder: Path) -> Ended | None:
        """A job that is not in the queue any more, and has left no end."""
        if (job, number) in self._queued:
            self._gone_since.pop((job, number), None)
            return None
        since = self._gone_since.setdefault((job, number), time.monotonic())
        if time.monotonic() - since < GRACE_SECONDS:
            return None
        return Ended(
            key, f"job {job}_{number} has left Slurm's queue without an end; see {folder}/{number}.txt"
        )


def _run(*command: str, check: bool = True) -> str:
    """What a program of Slurm prints. Raises InputError with what it says."""
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode and check:
        raise InputError(f"{command[0]}: {run.stderr.strip()[:400]}")
    return run.stdout
