"""Commands that need each other's files, two at a time. What has ended stands in a file of its own and is not
run again; the commands themselves go on where they were interrupted.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_gen.files.run_clock import Seconds
from data_gen.files.stored_record import StoredRecord
from data_gen.settings.errors import InputError

logger = logging.getLogger(__name__)
N_PROCESSES = 2
POLL_SECONDS = 0.2
N_LINES = 15  # of a failed command's output that are shown

Command = tuple[str, ...]  # a module and its arguments


@dataclass(frozen=True)
class Job:
    """`command` may be made when its turn comes, of what the jobs that it `needs` have written."""

    name: str
    command: Command | Callable[[], Command]
    needs: tuple[str, ...] = ()

    def arguments(self) -> Command:
        return self.command if isinstance(self.command, tuple) else self.command()


@dataclass(frozen=True)
class JobRecord(StoredRecord):
    """What a finished job took, over all its attempts, and its command line."""

    WRITTEN_BY = "`python -m benchmarks.reproduce run`"

    name: str
    wall_seconds: float
    cpu_seconds: float
    command_line: str


@dataclass
class Running:
    """A job whose process runs. CPU seconds of a process are known when it has ended."""

    job: Job
    command: Command
    process: "subprocess.Popen[bytes]"
    started: float = field(default_factory=time.perf_counter)

    def ended(self, flags: int = os.WNOHANG) -> tuple[int, float] | None:
        """Exit code and CPU seconds of the process; None while it runs."""
        pid, status, usage = os.wait4(self.process.pid, flags)
        if pid == 0:
            return None
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.process.returncode, usage.ru_utime + usage.ru_stime


class JobQueue:
    """Runs jobs in their order as soon as what they need is done. `lock` is a descriptor that the processes
    inherit, so that those of a killed run cannot meet those of the next one.
    """

    def __init__(self, folder: Path, lock: int, n_processes: int = N_PROCESSES) -> None:
        self.folder, self.lock, self.n_processes = folder, lock, n_processes
        self.running: list[Running] = []
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, jobs: Sequence[Job]) -> None:
        """Raises InputError naming the command that failed; what runs beside it is stopped."""
        names = [job.name for job in jobs]
        assert len(set(names)) == len(names)
        assert all(need in names[:i] for i, job in enumerate(jobs) for need in job.needs)
        done = {job.name for job in jobs if self.record(job.name).exists()}
        if done:
            logger.info("done before: %s", ", ".join(name for name in names if name in done))
        waiting = [job for job in jobs if job.name not in done]
        try:
            while waiting or self.running:
                ready = [job for job in waiting if done.issuperset(job.needs)]
                for job in ready[: self.n_processes - len(self.running)]:
                    waiting.remove(job)
                    self._start(job)
                done |= self._finished()
                time.sleep(POLL_SECONDS)
        finally:
            self._stop()

    def record(self, name: str) -> Path:
        """Written when the job is done."""
        return self.folder / f"{name}.json"

    def _start(self, job: Job) -> None:
        logger.info("%s", job.name)
        command = job.arguments()
        with (self.folder / f"{job.name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                pass_fds=[self.lock],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.running.append(Running(job, command, process))

    def _finished(self) -> set[str]:
        names = set()
        for each in list(self.running):
            ended = each.ended()
            if ended is None:
                continue
            self.running.remove(each)
            exit_code, cpu_seconds = ended
            seconds = self._book(each, cpu_seconds)
            name = each.job.name
            if exit_code:
                log = self.folder / f"{name}.log"
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-N_LINES:])
                raise InputError(f"{name}: exit code {exit_code}, see {log}; it ends with\n{tail}")
            line = " ".join(("python", "-m", *each.command))
            JobRecord(name, seconds.seconds, seconds.cpu_seconds, line).write(self.record(name))
            self._clock(name).unlink()
            logger.info("%s: done, %.0f CPU seconds", name, seconds.cpu_seconds)
            names.add(name)
        return names

    def _clock(self, name: str) -> Path:
        return self.folder / f"{name}.clock"

    def _book(self, each: Running, cpu_seconds: float) -> Seconds:
        """With the attempts before this one, which were interrupted."""
        clock = self._clock(each.job.name)
        before = Seconds.read(clock) if clock.exists() else Seconds()
        wall = before.seconds + time.perf_counter() - each.started
        seconds = Seconds(round(wall, 1), round(before.cpu_seconds + cpu_seconds, 2))
        seconds.write(clock)
        return seconds

    def _stop(self) -> None:
        """After an interrupt, or a failure of another one."""
        for each in self.running:
            # Popen.send_signal would reap one that has just ended, and take its cost with it
            os.kill(each.process.pid, signal.SIGTERM)
        for each in self.running:
            _, cpu_seconds = each.ended(flags=0) or (0, 0.0)
            self._book(each, cpu_seconds)
        self.running.clear()


def read_jobs(folder: Path) -> list[JobRecord]:
    return [JobRecord.read(path) for path in sorted(folder.glob("*.json"))]
