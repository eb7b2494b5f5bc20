"""Ctrl-C (SIGINT) and SIGTERM end a command: once as an interrupt that lets it put away what it holds, a
second time at once.
"""

import asyncio
import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)
LAST_SECONDS = 0.5  # for what is registered for the exit: children that are ended, files that are removed


class Interrupts:
    """`with Interrupts() as interrupts:` the first signal is raised in the block, as KeyboardInterrupt or,
    where an event loop runs, as CancelledError of its tasks; `received` says which it was. A shell starts the
    jobs of a script with SIGINT ignored: it ends them, too.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._received_at = 0.0
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._receive) for each in ENDING}
        return self

    def __exit__(self, *error: object) -> None:
        if self.received is None:  # else the process ends, and a second signal is still to come
            for each, handler in self._before.items():
                signal.signal(each, handler)  # type: ignore[arg-type]

    @property
    def exit_code(self) -> int:
        return 128 + (self.received or signal.SIGINT)

    @property
    def message(self) -> str:
        how = "ended by SIGTERM" if self.received is signal.SIGTERM else "interrupted"
        return f"{how}; what is finished is kept: the same command goes on from there"

    def end(self) -> None:
        """End the process, where a signal came, once what is registered for the exit is done, in
        LAST_SECONDS.

        Nobody waits for threads of libraries, nor for the seconds that the interpreter takes to forget them.
        """
        if self.received is not None:
            last_moment = threading.Timer(LAST_SECONDS, os._exit, [self.exit_code])
            last_moment.daemon = True
            last_moment.start()
            with contextlib.suppress(OSError):  # whoever read it is gone
                sys.stdout.flush()
            atexit._run_exitfuncs()
            os._exit(self.exit_code)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._received_at = signal.Signals(number), time.monotonic()
            _interrupt()
        elif number == self.received or time.monotonic() - self._received_at > LAST_SECONDS:
            os._exit(self.exit_code)
        # else the same wish came by two ways: Ctrl-C from the terminal, and SIGTERM from a parent that got it
        # too


def _interrupt() -> None:
    """In an event loop the tasks are cancelled, since an exception out of a signal handler would strike the
    loop itself just as well.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise KeyboardInterrupt from None
    tasks = asyncio.all_tasks(loop)
    if not tasks:
        raise KeyboardInterrupt
    for task in tasks:
        task.cancel()
    loop.call_soon_threadsafe(lambda: None)  # wakes a loop that sleeps
