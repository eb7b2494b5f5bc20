import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_gen.grading.worker_pool import AlgebraPool, ClosedError


def has_ended(process_id: int) -> bool:
    """Whether a process is gone (one that nobody has reaped yet has ended too)."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def children_of(process_id: int) -> list[int]:
    return [
        int(child) for child in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    ]


def wait_until_ended(process_ids: list[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not all(map(has_ended, process_ids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def all_processes(pool: AlgebraPool) -> list[int]:
    parents = pool.process_ids()
    return parents + [child for parent in parents for child in children_of(parent)]


def test_computations_that_do_not_end_are_killed_in_time_and_the_next_pair_is_judged() -> None:
    pool = AlgebraPool(n_workers=1, timeout_seconds=0.5, memory_gib=2)
    assert pool.ask("x+x", "2x").result() == {"is_equal": True}
    started = time.monotonic()
    for gold, answer in [("5", "9^{9^{9}}"), (r"4^{8^{16}}", r"2^{2^{49}}"), ("1000000!", "999999!*1000000")]:
        assert pool.ask(gold, answer).result()["unknown"] in ("timeout", "memory")
    assert time.monotonic() - started < 5  # three limits; the next child is forked and imports nothing
    assert pool.ask("a+b", "b+a").result() == {"is_equal": True}
    pool.close()


def test_memory_that_runs_out_is_an_unknown() -> None:
    # Sympy alone needs a good part of that
    pool = AlgebraPool(n_workers=1, timeout_seconds=60, memory_gib=0.2)
    assert pool.ask("7", "2^{2^{31}}").result() == {"unknown": "memory"}
    assert pool.ask("a+b", "b+a").result() == {"is_equal": True}
    pool.close()


def test_a_caller_that_holds_much_memory_does_not_use_up_the_worker_s() -> None:
    ballast = bytearray(os.urandom(1 << 20)) * 600  # what ru_maxrss of a new process starts with
    pool = AlgebraPool(n_workers=1, timeout_seconds=10, memory_gib=1)
    assert pool.ask("x+x", "2x").result() == {"is_equal": True}
    assert len(ballast) > 2**29
    pool.close()


def test_workers_that_are_killed_cost_a_restart_and_no_verdict() -> None:
    pool = AlgebraPool(n_workers=1, timeout_seconds=10, memory_gib=2)
    assert pool.ask("x+x", "2x").result() == {"is_equal": True}
    (parent,) = pool.process_ids()
    os.kill(parent, signal.SIGKILL)
    assert wait_until_ended([parent], 5)
    assert pool.ask("y+y", "2y").result() == {"is_equal": True}
    os.kill(children_of(pool.process_ids()[0])[0], signal.SIGKILL)  # while it waits
    time.sleep(0.2)
    replies = [
        pool.ask(gold, answer).result() for gold, answer in [("z+z", "2z"), ("z+z", "3z"), ("z+z", "4z")]
    ]
    assert replies == [{"is_equal": True}, {"is_equal": False}, {"is_equal": False}]
    pool.close()


def test_workers_start_as_questions_wait() -> None:
    pool = AlgebraPool(n_workers=3, timeout_seconds=10, memory_gib=2)
    for i in range(3):
        assert pool.ask(f"{i}x+x", f"x+{i}x").result() == {"is_equal": True}
    assert len(pool.process_ids()) == 1
    futures = [pool.ask(f"{i}x+y", f"y+{i}x") for i in range(20)]
    assert all(future.result() == {"is_equal": True} for future in futures)
    assert len(pool.process_ids()) == 3
    pool.close()


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (
            "RLIMIT_NOFILE, (9, 9)",
            "no grading worker can be started here: Too many open files (ulimit -a shows the limits)",
        ),
        ("RLIMIT_AS, (50 * 2**20, 50 * 2**20)", "the grading worker did not start; to see why, run: "),
    ],
)
def test_workers_that_cannot_start_are_one_line(limit: str, said: str) -> None:
    script = (
        "import resource; from data_gen.settings.parse import run_command; from data_gen.grading.worker_pool "
        "import AlgebraPool\n"
        "def main():\n"
        "    pool = AlgebraPool(1, 2.0, 2.0)\n"
        f"    resource.setrlimit(resource.{limit})\n"
        "    pool.ask('x+x', '2x').result()\n"
        "run_command(main, 'sample')"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"sample: error: {said}")
    assert ended.stderr.count("\n") == 1


def test_closing_ends_processes_and_whoever_waits_hears_of_it() -> None:
    pool = AlgebraPool(n_workers=1, timeout_seconds=60, memory_gib=2)
    assert pool.ask("x+x", "2x").result() == {"is_equal": True}
    processes = all_processes(pool)
    assert len(processes) == 2
    busy, waiting = pool.ask("5", "9^{9^{9}}"), pool.ask("5", "9^{9^{9}}")
    time.sleep(0.1)
    pool.close()
    for future in (busy, waiting):
        with pytest.raises(ClosedError):
            future.result(5)
    assert wait_until_ended(processes, 5)


def test_collecting_a_pool_ends_its_processes() -> None:
    pool = AlgebraPool(n_workers=1, timeout_seconds=60, memory_gib=2)
    pool.ask("x+x", "2x").result()
    processes = all_processes(pool)
    del pool
    gc.collect()
    assert wait_until_ended(processes, 5)


def test_killing_the_caller_ends_its_processes_even_inside_a_computation() -> None:
    script = (
        "import time; from data_gen.grading.worker_pool import AlgebraPool\n"
        "pool = AlgebraPool(1, 2.0, 2.0); pool.ask('x+x', '2x').result(); pool.ask('5', '9^{9^{9}}')\n"
        "print(*pool.process_ids(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        (parent,) = map(int, caller.stdout.readline().split())
        processes = [parent, *children_of(parent)]
        caller.kill()
    assert len(processes) == 2
    assert wait_until_ended(processes, 10)
