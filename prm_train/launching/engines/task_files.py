"""Tasks and their ends as files of a folder that all nodes see, for engines that only start programs:
`python -m prm_train.launching.engines.task_files FOLDER NUMBER`.
"""

import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_gen.files.stored_record import StoredRecord
from prm_train.launching.engines.protocol import Ended, Task
from prm_train.launching.run_shard import ShardTask

TASKS = "tasks.json"


@dataclass(frozen=True)
class WrittenTasks(StoredRecord):
    """JSON, since who can write into the folder must not run code of their own by it."""

    WRITTEN_BY = "`prm-train launch`"

    tasks: tuple[ShardTask, ...]


def write_tasks(folder: Path, tasks: Sequence[Task]) -> None:
    """Raises TypeError for others than shards: servers are started by engines that keep their tasks."""
    shards = tuple(task for task in tasks if isinstance(task, ShardTask))
    if len(shards) < len(tasks):
        raise TypeError(f"tasks: got {len(tasks) - len(shards)} that are no shards, expected shards alone")
    folder.mkdir(parents=True)
    WrittenTasks(shards).write(folder / TASKS)


def read_task(folder: Path, number: int) -> Task:
    return WrittenTasks.read(folder / TASKS).tasks[number]


def run_task(folder: Path, number: int) -> Ended:
    """Run a task until it ends or a signal ends it, and leave its end in the folder."""
    stop, task = threading.Event(), read_task(folder, number)
    before = {each: signal.signal(each, lambda *_: stop.set()) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        ended = Ended(task.key, task.run(stop, socket.gethostname()))
    finally:
        for each, handler in before.items():  # a pool ends its processes by SIGTERM
            signal.signal(each, handler)
    ended.write(folder / f"{number}.json")
    return ended


def read_end(folder: Path, number: int) -> Ended | None:
    """None while it has not ended."""
    path = folder / f"{number}.json"
    return Ended.read(path) if path.exists() else None


if __name__ == "__main__":
    run_task(Path(sys.argv[1]), int(sys.argv[2]))
