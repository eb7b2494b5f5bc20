"""Connections of a server that wait for their requests, and for who reads their replies, but not for ever,
and that take it quietly when there are no descriptors left.
"""

import asyncio
import errno
import logging
import time
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

logger = logging.getLogger(__name__)
# From a connection's first moment, or the end of its last answer, to the end of the next request's headers
HEAD_SECONDS = 30.0
UNREAD_SECONDS = 60.0  # a reply of which nothing more is read
LOG_SECONDS = 60.0
OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)
_last_line_at = float("-inf")


class PatientProtocol(H11Protocol):
    """uvicorn's own, which waits for ever for a request that has begun, or for the first of a connection, and
    keeps what its client does not read.
    """

    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unwatch()
        self._forget_unread()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_unread()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget_unread()

    def _watch_unread(self, n_before: int | None = None) -> None:
        """`n_before` bytes waited the last time."""
        n_unread = self.transport.get_write_buffer_size()
        if n_unread == n_before:
            self.transport.abort()
        else:
            self._unread = self.loop.call_later(UNREAD_SECONDS, self._watch_unread, n_unread)

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        """A request under way has the limits of its application; otherwise the clock runs, and more bytes do
        not set it back.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            self._unwatch()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def quiet_without_files(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception handler of an event loop that says once a minute that no connection can be taken, not at
    each of them.
    """
    global _last_line_at
    error = context.get("exception")
    if not isinstance(error, OSError) or error.errno not in OUT_OF_FILES:
        loop.default_exception_handler(context)
    elif time.monotonic() - _last_line_at > LOG_SECONDS:
        _last_line_at = time.monotonic()
        logger.warning("%s: new connections wait until others end (ulimit -n sets the limit)", error.strerror)
