"""Seconds of a run over all the processes that worked on it, kept in a file: a run that goes on does not forget its first part."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from data_gen.files.jsonl import write_text
from data_gen.files.run_identity import read_object

SAVE_SECONDS = 10.0  # what a `kill -9` loses at most


class RunClock:
    """Counts from its creation on, beginning with what `path` holds. `cpu_seconds` is a clock of CPU seconds (default: of this process)."""

    def __init__(self, path: Path, cpu_seconds: Callable[[], float] = time.process_time) -> None:
        earlier = read_object(path) if path.exists() else {}
        self._path, self._cpu_clock = path, cpu_seconds
        self._earlier = float(earlier.get("seconds", 0.0)), float(earlier.get("cpu_seconds", 0.0))
        self._started = time.perf_counter(), cpu_seconds()

    def facts(self) -> dict[str, float]:
        """Wall and CPU seconds up to now, those of earlier processes included."""
        return self._rounded(time.perf_counter() - self._started[0], self._cpu_clock() - self._started[1])

    def earlier_facts(self) -> dict[str, float]:
        """Those of earlier processes alone."""
        return self._rounded(0.0, 0.0)

    def _rounded(self, seconds: float, cpu_seconds: float) -> dict[str, float]:
        return {"seconds": round(self._earlier[0] + seconds, 1), "cpu_seconds": round(self._earlier[1] + cpu_seconds, 1)}

    def save(self) -> None:
        write_text(self._path, json.dumps(self.facts()) + "\n")

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
