"""Asynchronous work for callers who may be in a notebook, whose event loop is running."""

import _thread
import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")
# A signal that comes just before a wait does not end it; it is raised behind it.
DEAF_SECONDS = 0.5


def run_apart(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, run to its end in an event loop and a thread of its own. An interrupt of the
    caller (Ctrl-C, or a notebook's stop) cancels it, from the first moment on.
    """
    # Made here: what a loop is told before it runs it does first.
    loop, outcome = asyncio.new_event_loop(), Future[Result]()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                result = runner.run(work)
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            outcome.set_exception(error)
        else:  # told when the loop is closed: what the work left behind has ended, too
            outcome.set_result(result)

    def cancel() -> None:
        for task in asyncio.all_tasks(loop):
            if task.get_coro() is work:
                task.cancel()

    thread = None
    try:
        # A Thread's start, which waits for it, would leave nothing to wait for where it is interrupted.
        thread = _thread.start_new_thread(run, ())
        while wait([outcome], timeout=DEAF_SECONDS).not_done:
            pass
        return outcome.result()
    except BaseException:
        with suppress(RuntimeError):  # the loop is closed: the work has ended, maybe with this exception
            loop.call_soon_threadsafe(cancel)
        if thread is not None:
            wait([outcome])
        raise
