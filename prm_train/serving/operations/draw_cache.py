"""Draws of the last questions, where the server keeps no ledger: who asks again with the same seed and a
higher budget pays for what is missing.

The draws of one question, policy and seed are a ledger in memory. It is dropped as a whole, when it is old or
when too many others, or too large ones, were asked for since, but never while a search uses it: then the
bytes of those in use come on top.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from data_gen.ledger.store import IN_MEMORY, Ledger
from prm_train.serving.operations.settings import CacheSettings

# By the resident memory of processes with many ledgers, of few long draws and of many short ones: each
# connection takes 64 KiB, and what stands beside SQLite's pages a third of them
CONNECTION_BYTES, BESIDE_PAGES = 64 * 2**10, 4 / 3


@dataclass
class _Kept:
    ledger: Ledger
    closing: ExitStack
    born: float
    n_users: int = 0
    n_bytes: int = 0  # as of its last use


class DrawCache:
    """Bounded in number, bytes of memory and age; `clock` gives seconds. Of one thread, as ledgers are."""

    def __init__(self, settings: CacheSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def n_bytes(self) -> int:
        return sum(kept.n_bytes for kept in self._kept.values())

    @contextmanager
    def open(self, key: str) -> Iterator[Ledger]:
        """The ledger of this key, which may hold draws."""
        self._drop_unused()
        if key not in self._kept:
            closing = ExitStack()
            self._kept[key] = _Kept(closing.enter_context(Ledger(IN_MEMORY)), closing, self._clock())
        kept = self._kept[key]
        self._kept.move_to_end(key)
        kept.n_users += 1
        try:
            yield kept.ledger
        finally:
            kept.n_users -= 1
            kept.n_bytes = CONNECTION_BYTES + int(BESIDE_PAGES * kept.ledger.n_bytes)
            self._drop_unused()

    def _drop_unused(self) -> None:
        """What is too old or too much, those that were asked for longest ago first."""
        settings = self._settings
        oldest = self._clock() - settings.max_age_seconds
        n_beyond, bytes_beyond = len(self) - settings.max_questions, self.n_bytes - settings.max_draw_bytes
        for key, kept in list(self._kept.items()):
            is_over = kept.born < oldest or n_beyond > 0 or bytes_beyond > 0
            if kept.n_users == 0 and is_over:
                self._kept.pop(key).closing.close()
                n_beyond, bytes_beyond = n_beyond - 1, bytes_beyond - kept.n_bytes
