"""Answers that were found before: the same request of the same models has the same answer, if it names a
seed.

A request is known by all that decides its answer: the weights of policy and scorer, the prompt's ids, the
settings and the budget of the search, the seed. Draws are not kept here but in the server's `ledger`, if it
has one: there a request with a higher budget finds those of the lower one and draws what is missing.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from prm_train.serving.answering import Found
from prm_train.serving.operations.memory_size import memory_bytes
from prm_train.serving.operations.settings import CacheSettings

NO_STORE, NO_CACHE = "no-store", "no-cache"
ENTRY_BYTES = 400  # of an answer's key, and its place among the others


@dataclass(frozen=True)
class CacheControl:
    """What a request's header Cache-Control asks for: `no-cache` an answer that is found anew and kept,
    `no-store` one that is not kept either.
    """

    may_read: bool = True
    may_keep: bool = True  # in the ledger, too


def cache_control(headers: Sequence[str]) -> CacheControl:
    """Of all its lines."""
    words = {word.strip().lower() for word in ",".join(headers).split(",")}
    return CacheControl(not words & {NO_STORE, NO_CACHE}, NO_STORE not in words)


@dataclass(frozen=True)
class _Kept:
    found: Found
    n_bytes: int
    born: float


class AnswerCache:
    """Bounded in number, bytes of memory and age; `clock` gives seconds."""

    def __init__(self, settings: CacheSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._n_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def n_bytes(self) -> int:
        return self._n_bytes

    def get(self, key: str) -> Found | None:
        """The answer, marked as one that was kept and costs nothing."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if self._clock() - kept.born > self._settings.max_age_seconds:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        money = None if kept.found.money is None else 0.0
        return replace(kept.found, is_cached=True, money=money)

    def put(self, key: str, found: Found) -> None:
        """Nothing happens for one that is larger than all may be together."""
        n_bytes = ENTRY_BYTES + memory_bytes(found)
        if n_bytes > self._settings.max_bytes:
            return
        if key in self._kept:
            self._drop(key)
        self._kept[key] = _Kept(found, n_bytes, self._clock())
        self._n_bytes += n_bytes
        while len(self._kept) > self._settings.max_answers or self._n_bytes > self._settings.max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        self._n_bytes -= self._kept.pop(key).n_bytes
