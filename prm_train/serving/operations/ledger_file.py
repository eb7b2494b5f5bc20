"""The file that keeps the draws of a server, and how large it becomes.

A ledger is never cleaned: what it holds is evidence. So a file that has reached its size is set aside whole,
as `NAME.old` in place of the one before, and a new one begins: both together take twice the size on disk.
What was drawn before then is drawn again where it is asked for. A search that uses the file keeps it; those
that come meanwhile have their draws dropped with their request, so that it is soon used by nobody.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from data_gen.ledger.store import IN_MEMORY, Ledger

logger = logging.getLogger(__name__)
OLD = ".old"


class LedgerFile:
    """`with LedgerFile(path, max_bytes) as file:` holds the lock on it. Of one thread, as ledgers are."""

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        self.path, self._max_bytes = path, max_bytes
        self._ledger, self._n_users = Ledger(path), 0

    def __enter__(self) -> "LedgerFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ledger.__exit__(kind, error, trace)

    @contextmanager
    def open(self) -> Iterator[Ledger]:
        """The ledger to draw by. Raises LedgerError where its file cannot be written any more."""
        if self._is_full and not self._n_users:
            self._set_aside()
        if self._is_full:
            with Ledger(IN_MEMORY) as aside:
                yield aside
            return
        self._n_users += 1
        try:
            yield self._ledger
        finally:
            self._n_users -= 1

    @property
    def _is_full(self) -> bool:
        return self._max_bytes is not None and self._ledger.n_bytes >= self._max_bytes

    def _set_aside(self) -> None:
        n_bytes, old = self._ledger.n_bytes, self.path.with_name(self.path.name + OLD)
        self._ledger.commit()
        self._ledger.close()
        self.path.replace(old)
        self._ledger = Ledger(self.path)
        logger.info(
            "ledger: %s had %s bytes, is %s now; a new one begins", self.path, f"{n_bytes:,}", old.name
        )
