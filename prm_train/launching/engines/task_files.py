"""Tasks and their ends as files of a folder that all nodes see, for engines that only start programs:
`python -m prm_train.launching.engines.task_files FOLDER NUMBER`.
"""

import pickle
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from prm_train.launching.engines.protocol import Ended, Task

TASKS = "tasks.pickle"


def write_tasks(folder: Path, tasks: Sequence[Task]) -> None:
    folder.mkdir(parents=True)
    (folder / TASKS).write_bytes(pickle.dumps(list(tasks)))


def read_task(folder: Path, number: int) -> Task:
    task: Task = pickle.loads((folder / TASKS).read_bytes())[number]
    return task


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
