"""Threads for functions of others, which may be slow or never return: they hold up neither the event loop nor
the end of the process.

`asyncio.to_thread` waits for its threads when the loop ends, however long they take, and never delivers a
StopIteration: who awaits that waits for ever.
"""

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

Result = TypeVar("Result")
Outcome = tuple[Result | None, BaseException | None]


class DaemonThreads:
    """`await threads.call(function, ...)` runs a plain function in one of `n_threads` threads.

    They start with the first call and end when this object is collected.
    """

    def __init__(self, n_threads: int | None = None) -> None:
        self._n_threads = n_threads or min(32, (os.cpu_count() or 1) + 4)  # as many as asyncio.to_thread has
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._are_started = False

    async def call(self, function: Callable[..., Result], *arguments: object) -> Result:
        """What the function returns or raises, whatever it is. Who is cancelled meanwhile leaves the function
        to its thread.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Outcome[Result]] = loop.create_future()

        def deliver(outcome: Outcome[Result]) -> None:
            if not done.done():
                done.set_result(outcome)

        def work() -> None:
            outcome: Outcome[Result]
            try:
                outcome = function(*arguments), None
            except BaseException as error:  # noqa: BLE001 it is raised where the function was called
                outcome = None, error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(deliver, outcome)

        self._start()
        self._calls.put(work)
        result, error = await done
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def _start(self) -> None:
        with self._lock:
            if not self._are_started:
                self._are_started = True
                weakref.finalize(self, _end, self._calls, self._n_threads)
                for _ in range(self._n_threads):
                    threading.Thread(target=_work, args=(self._calls,), name="call", daemon=True).start()


def _work(calls: "SimpleQueue[Callable[[], None] | None]") -> None:
    while (call := calls.get()) is not None:
        call()


def _end(calls: "SimpleQueue[Callable[[], None] | None]", n_threads: int) -> None:
    for _ in range(n_threads):
        calls.put(None)


def run_in_thread(function: Callable[[], Result]) -> Result:
    """What `function` returns or raises, from a thread of its own, where no event loop runs. An interrupt
    leaves the thread behind.
    """
    outcomes: SimpleQueue[Outcome[Result]] = SimpleQueue()

    def work() -> None:
        try:
            outcomes.put((function(), None))
        except BaseException as error:  # noqa: BLE001 it is raised where the function was called
            outcomes.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    result, error = outcomes.get()
    if error is not None:
        raise error
    return result  # type: ignore[return-value]
