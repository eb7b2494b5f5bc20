"""Commands that are told when their time is over, in this process."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfTimeError(KeyboardInterrupt):
    """No Exception: what libraries catch must not hold it up, and a command puts away what it holds as after
    Ctrl-C.
    """


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Ends the block after so many seconds of wall clock, where Python runs: a call that never returns to it
    is not ended. Main thread alone. Raises OutOfTimeError.
    """
    is_over = False

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal is_over
        is_over = True
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise OutOfTimeError from None
        # As `data_gen.process.interrupts` does: an exception out of the handler would strike the loop itself
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.call_soon_threadsafe(lambda: None)  # wakes a loop that sleeps

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    except asyncio.CancelledError:
        if not is_over:
            raise
        raise OutOfTimeError from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
