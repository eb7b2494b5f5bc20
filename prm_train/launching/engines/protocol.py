"""What starts shards and says when each has ended. An engine knows nothing of what a shard does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from prm_train.launching.shards import ShardSpec


@dataclass(frozen=True)
class Ended:
    """An attempt that is over: `fault` says what ended it, "" where the shard is done."""

    index: int
    fault: str


class Engine(Protocol):
    def start(self, specs: Sequence[ShardSpec]) -> None:
        """Queue an attempt of each; a shard whose attempt failed may be started again."""

    def ended(self) -> list[Ended]:
        """What has ended since the last call, without waiting."""

    def stop(self) -> None:
        """End what still runs, and let go of the engine. What is committed stays."""
