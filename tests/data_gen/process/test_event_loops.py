import asyncio
import signal
import threading
import time

import pytest

from data_gen.process.event_loops import run_apart


def test_the_result_comes_back_also_where_an_event_loop_is_running():
    async def seven():
        await asyncio.sleep(0)
        return 7

    async def cell():
        return run_apart(seven())

    assert run_apart(seven()) == asyncio.run(cell()) == 7


def test_a_failure_is_that_of_the_work():
    async def fail():
        raise LookupError("no such draw")

    with pytest.raises(LookupError, match="no such draw"):
        run_apart(fail())


def test_what_the_work_left_behind_has_ended_when_the_result_comes_back():
    seen, tasks = list[str](), list[asyncio.Task[None]]()

    async def linger():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.2)
            seen.append("put away")

    async def leave_behind():
        tasks.append(asyncio.create_task(linger()))
        await asyncio.sleep(0)  # it begins
        return 7

    assert run_apart(leave_behind()) == 7
    assert seen == ["put away"]


def test_an_interrupt_in_the_first_moment_cancels_the_work_and_does_not_wait_for_its_end():
    seen: list[str] = []
    main_thread = threading.get_ident()

    async def long():
        signal.pthread_kill(main_thread, signal.SIGINT)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    started = time.monotonic()
    # Processes that run tests side by side ignore the signal
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_apart(long())
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == ["cancelled"]
    assert time.monotonic() - started < 30
