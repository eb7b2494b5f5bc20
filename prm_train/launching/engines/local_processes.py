"""Shards as processes of this machine, some at a time."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from prm_train.launching.engines.protocol import Ended
from prm_train.launching.run_shard import run_shard
from prm_train.launching.shards import ShardEnd, ShardSpec


class LocalProcesses:
    """See `prm_train.launching.engines.protocol.Engine`. A thread watches each process."""

    def __init__(self, n_parallel: int) -> None:
        self._threads = ThreadPoolExecutor(n_parallel)
        self._stop = threading.Event()
        self._attempts: dict[int, Future[ShardEnd]] = {}

    def start(self, specs: Sequence[ShardSpec]) -> None:
        for spec in specs:
            self._attempts[spec.index] = self._threads.submit(run_shard, spec, self._stop)

    def ended(self) -> list[Ended]:
        over = [index for index, attempt in self._attempts.items() if attempt.done()]
        return [Ended(index, self._attempts.pop(index).result().fault) for index in over]

    def stop(self) -> None:
        self._stop.set()
        self._threads.shutdown(cancel_futures=True)
