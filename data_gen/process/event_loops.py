"""Asynchronous work for callers who may be in a notebook, whose event loop is running."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_apart(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, run to its end in an event loop and a thread of its own. An interrupt of the
    caller (Ctrl-C, or a notebook's stop) cancels it.
    """
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def run() -> Result:
        task = asyncio.current_task()
        assert task is not None
        started.append((asyncio.get_running_loop(), task))
        return await work

    with ThreadPoolExecutor(max_workers=1) as thread:
        found = thread.submit(asyncio.run, run())
        try:
            return found.result()
        except BaseException:
            if not found.done():  # else the exception is that of `work`
                for loop, task in started:
                    with suppress(RuntimeError):  # the loop has been closed just now
                        loop.call_soon_threadsafe(task.cancel)
            raise
