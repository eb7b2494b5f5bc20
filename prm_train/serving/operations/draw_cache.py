"""Draws of the last questions, where the server keeps no ledger: who asks again with the same seed and a
higher budget pays for what is missing.

The draws of one question, policy and seed are a ledger in memory. It is dropped as a whole, when it is old or
when too many others were asked for since, but never while a search uses it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from data_gen.ledger.store import IN_MEMORY, Ledger
from prm_train.serving.operations.settings import CacheSettings


@dataclass
class _Kept:
    ledger: Ledger
    closing: ExitStack
    born: float
    n_users: int = 0


class DrawCache:
    """Bounded in number and age; `clock` gives seconds. Of one thread, as ledgers are."""

    def __init__(self, settings: CacheSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

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
            self._drop_unused()

    def _drop_unused(self) -> None:
        """What is too old or too much, those that were asked for longest ago first."""
        oldest, n_beyond = (
            self._clock() - self._settings.max_age_seconds,
            len(self) - self._settings.max_questions,
        )
        for key, kept in list(self._kept.items()):
            if kept.n_users == 0 and (kept.born < oldest or n_beyond > 0):
                self._kept.pop(key).closing.close()
                n_beyond -= 1
