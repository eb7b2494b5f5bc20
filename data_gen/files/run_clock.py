"""Seconds of a run over all the processes that worked on it, kept in a file: a run that goes on does not
forget its first part.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from data_gen.files.stored_record import StoredRecord

SAVE_SECONDS = 10.0  # what a `kill -9` loses at most


@dataclass(frozen=True)
class Seconds(StoredRecord):
    """Wall and CPU seconds."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


class RunClock:
    """Counts from its creation on, beginning with what `path` holds. `cpu_seconds` is a clock of CPU seconds
    (default: of this process).
    """

    def __init__(self, path: Path, cpu_seconds: Callable[[], float] = time.process_time) -> None:
        self.saved = self._earlier = Seconds.read(path) if path.exists() else Seconds()
        self._path, self._cpu_clock = path, cpu_seconds
        self._started = time.perf_counter(), cpu_seconds()

    def spent(self) -> Seconds:
        """Up to now, those of earlier processes included."""
        seconds, cpu_seconds = (
            time.perf_counter() - self._started[0],
            self._cpu_clock() - self._started[1],
        )
        return Seconds(
            round(self._earlier.seconds + seconds, 1), round(self._earlier.cpu_seconds + cpu_seconds, 1)
        )

    def save(self) -> None:
        """Into the file, and as `saved`: what the file holds."""
        self.saved = self.spent()
        self.saved.write(self._path)

    def remove(self) -> None:
        """The run has ended and its seconds stand elsewhere."""
        self._path.unlink(missing_ok=True)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Saves now, every `SAVE_SECONDS` inside the block, and at its end, however that comes."""

        async def tick() -> None:
            while True:
                await asyncio.sleep(SAVE_SECONDS)
                with suppress(OSError):  # of a full disk the ledger says more
                    self.save()

        self.save()
        ticking = asyncio.create_task(tick())
        try:
            yield
        except BaseException:
            with suppress(OSError):  # what ended the block is what is told
                self.save()
            raise
        else:
            self.save()
        finally:
            ticking.cancel()
