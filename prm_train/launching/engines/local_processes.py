"""Tasks as processes of this machine, some at a time."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from prm_train.launching.engines.protocol import Ended, Task

HOST = "127.0.0.1"


class LocalProcesses:
    """See `prm_train.launching.engines.protocol.Engine`. A thread watches the process of each task."""

    def __init__(self, n_parallel: int) -> None:
        self._threads = ThreadPoolExecutor(n_parallel)
        self._stop = threading.Event()
        self._tasks: dict[str, Future[str]] = {}

    def start(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self._tasks[task.key] = self._threads.submit(task.run, self._stop, HOST)

    def ended(self) -> list[Ended]:
        over = [key for key, task in self._tasks.items() if task.done()]
        return [Ended(key, self._tasks.pop(key).result()) for key in over]

    def stop(self) -> None:
        self._stop.set()
        self._threads.shutdown(cancel_futures=True)
