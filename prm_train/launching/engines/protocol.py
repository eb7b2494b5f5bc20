"""What starts tasks (shards, and servers for them) and says when each has ended. An engine knows nothing of
what a task does.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from data_gen.files.stored_record import StoredRecord


class Task(Protocol):
    """Something that runs on one node; it travels there by pickle."""

    @property
    def key(self) -> str: ...
    @property
    def cpus(self) -> float: ...
    @property
    def gpus(self) -> float: ...
    def run(self, stop: threading.Event, host: str) -> str:
        """What ended it, "" where its work is done. `host`: where other nodes reach this one. Ends soon after
        `stop` is set.
        """


@dataclass(frozen=True)
class Ended(StoredRecord):
    """A task that is over: `fault` says what ended it, "" where its work is done."""

    key: str
    fault: str


class Engine(Protocol):
    def start(self, tasks: Sequence[Task]) -> None:
        """Queue them; a task that has ended may be started again."""

    def ended(self) -> list[Ended]:
        """What has ended since the last call, without waiting."""

    def stop(self) -> None:
        """End what still runs, and let go of the engine. What is committed stays."""
