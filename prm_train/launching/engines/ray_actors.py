"""Tasks as actors of a Ray cluster, one an attempt, placed by the cores and GPUs that they ask for. Tasks
that find no room wait in Ray, where an autoscaler sees them.

Not `ray.data.llm`: it gives one text a prompt without finish_reason, of which no verdict could be made.
"""

import threading
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from prm_train.launching.engines.protocol import Ended, Task

OBJECT_STORE_BYTES = 200 * 2**20  # of a cluster of our own: what travels are specs and faults
LAST_SECONDS = 40.0  # for tasks that were told to end


class TaskActor:
    """Runs one task in the process of an actor."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def run(self, task: Task) -> str:
        return task.run(self._stop, ray.util.get_node_ip_address())

    def stop(self) -> None:
        self._stop.set()


class RayActors:
    """See `prm_train.launching.engines.protocol.Engine`."""

    def __init__(self, address: str | None, n_parallel: int | None) -> None:
        own = {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
        ray.init(address=address, log_to_driver=False, **({} if address else own))
        # A second thread, so that a task that runs can be told to stop
        self._actor_class = ray.remote(max_concurrency=2, max_restarts=0)(TaskActor)
        self._n_parallel = n_parallel
        self._queue: list[Task] = []
        self._running: dict[Any, tuple[str, Any]] = {}

    def start(self, tasks: Sequence[Task]) -> None:
        self._queue += tasks
        self._fill()

    def ended(self) -> list[Ended]:
        refs = list(self._running)
        over, _ = ray.wait(refs, num_returns=len(refs), timeout=0) if refs else ([], [])
        found = []
        for ref in over:
            key, actor = self._running.pop(ref)
            try:
                fault = ray.get(ref)
            except RayError as error:  # its process or its node is gone, or the task raised something
                fault = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]:.300}"
            ray.kill(actor)
            found.append(Ended(key, fault))
        self._fill()
        return found

    def stop(self) -> None:
        for _, actor in self._running.values():
            actor.stop.remote()
        refs = list(self._running)
        if refs:
            ray.wait(refs, num_returns=len(refs), timeout=LAST_SECONDS)
        ray.shutdown()

    def _fill(self) -> None:
        while self._queue and (self._n_parallel is None or len(self._running) < self._n_parallel):
            task = self._queue.pop(0)
            actor = self._actor_class.options(num_cpus=task.cpus, num_gpus=task.gpus, name=None).remote()
            self._running[actor.run.remote(task)] = (task.key, actor)
