"""Processes that answer questions of algebra and can be killed, behind one queue; see grading_worker.py for
what runs in them.

A pool starts its workers as questions wait, `n_workers` at most, one thread and one process group each.
Nothing of it outlives its owner: processes end when the pool is closed or collected, when the interpreter
exits, and, since their stdin closes, when it is killed. Questions may come from any thread; no signal handler
is touched in this process.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from data_gen.settings.errors import InputError

START_SECONDS = 60.0  # importing sympy on a busy machine
# A worker ends its own work in time; past this it is stuck (a machine that swaps) and is replaced
GRACE_SECONDS = 10.0

Reply = dict[str, Any]
Question = tuple[str, str, Future[Reply]]


class NoWorkerError(InputError):
    """This machine, its limits or the installation let no worker start: no verdict, and nothing that another
    question would change.
    """


class ClosedError(RuntimeError):
    """The pool was closed before it could answer: no verdict, not even an unknown one."""

    def __init__(self) -> None:
        super().__init__("the grader is closed")


class AlgebraPool:
    """`ask` returns at once; its future holds `{"is_equal": bool}` or `{"unknown": reason}`, or
    NoWorkerError.

    Reasons are those of grading_worker.py, and crash where a question has ended two workers.
    """

    def __init__(self, n_workers: int, timeout_seconds: float, memory_gib: float) -> None:
        if n_workers < 1:
            raise ValueError(f"n_workers: got {n_workers}, expected at least 1")
        self._idle = [AlgebraWorker(timeout_seconds, memory_gib) for _ in range(n_workers)]
        self._running: list[AlgebraWorker] = []
        self._questions: SimpleQueue[Question | None] = SimpleQueue()
        self._open: set[Future[Reply]] = set()
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _end, self._questions, self._running)

    def ask(self, gold: str, answer: str) -> Future[Reply]:
        if not self._finalizer.alive:
            raise ClosedError
        future: Future[Reply] = Future()
        with self._lock:
            self._open.add(future)
            future.add_done_callback(self._open.discard)
            self._questions.put((gold, answer, future))
            if self._idle and len(self._open) > len(self._running):
                worker = self._idle.pop()
                self._running.append(worker)
                threading.Thread(
                    target=_work, args=(worker, self._questions), name="grading", daemon=True
                ).start()
        return future

    def process_ids(self) -> list[int]:
        """Of the workers that run now."""
        return [worker.process.pid for worker in self._running if worker.process is not None]

    def close(self) -> None:
        """End all processes; who still waits gets ClosedError."""
        self._finalizer()


def _work(worker: "AlgebraWorker", questions: "SimpleQueue[Question | None]") -> None:
    """A thread of the pool. It knows the queue and not the pool, which can therefore be collected."""
    while (question := questions.get()) is not None:
        gold, answer, future = question
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(worker.ask(gold, answer))
            except (RuntimeError, OSError, ValueError) as error:  # no start, no JSON: the asker raises it
                future.set_exception(error)
    worker.stop()


def _end(questions: "SimpleQueue[Question | None]", workers: "list[AlgebraWorker]") -> None:
    while not questions.empty():
        question = questions.get()
        if question is not None and question[2].set_running_or_notify_cancel():
            question[2].set_exception(ClosedError())
    for worker in workers:
        questions.put(None)
        worker.close()


class AlgebraWorker:
    """One worker process, started at the first question and again after it was stuck or killed. `ask` is for
    one thread.
    """

    def __init__(self, timeout_seconds: float, memory_gib: float) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._timeout_seconds = timeout_seconds
        self._memory_gib = memory_gib
        self._is_closed = False
        self._lock = threading.RLock()

    def ask(self, gold: str, answer: str) -> Reply:
        """The worker's reply. Raises NoWorkerError if it does not start, ClosedError after `close`."""
        question = json.dumps({"gold": gold, "answer": answer}).encode() + b"\n"
        for _ in range(2):  # a process that someone killed costs a restart, not a verdict
            try:
                process = self._running_process()
                assert process.stdin is not None
                process.stdin.write(question)
                process.stdin.flush()
                return _read_reply(process, self._timeout_seconds + GRACE_SECONDS)
            except TimeoutError:
                self.stop()
                return {"unknown": "timeout"}
            except BrokenPipeError:
                self.stop()
        return {"unknown": "crash"}

    def close(self) -> None:
        """End the process for good, from any thread; the thread that asks notices by the end of its pipe."""
        with self._lock:
            self._is_closed = True
            if self.process is not None:
                _kill(self.process)

    def stop(self) -> None:
        """End the process; the next question starts another."""
        if self.process is not None:
            _kill(self.process)
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):  # what was never sent
                    pipe.close()
            self.process = None

    def _running_process(self) -> "subprocess.Popen[bytes]":
        if self.process is not None and self.process.poll() is None:
            return self.process
        self.stop()
        limits = [str(int(self._memory_gib * 2**30)), str(self._timeout_seconds)]
        command = [sys.executable, "-P", str(Path(__file__).with_name("pool_worker.py")), *limits]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        with self._lock:
            if self._is_closed:
                raise ClosedError
            try:
                self.process = subprocess.Popen(
                    command,
                    stdin=pipe,
                    stdout=pipe,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:  # no more processes, files or memory
                raise NoWorkerError(
                    f"no grading worker can be started here: {error.strerror} (ulimit -a shows the limits)"
                ) from error
        try:
            _read_reply(self.process, START_SECONDS)
        # A broken installation must not pass for answers that nobody can judge
        except (TimeoutError, BrokenPipeError) as error:
            self.stop()
            if self._is_closed:
                raise ClosedError from error
            raise NoWorkerError(
                f"the grading worker did not start; to see why, run: {' '.join(command)} < /dev/null"
            ) from error
        return self.process


def _read_reply(process: "subprocess.Popen[bytes]", timeout_seconds: float) -> Reply:
    """The next line. Raises TimeoutError, and BrokenPipeError where the process has ended."""
    assert process.stdout is not None
    deadline, line = time.monotonic() + timeout_seconds, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            part = os.read(process.stdout.fileno(), 65536)
            if not part:
                raise BrokenPipeError
            line += part
    reply: Reply = json.loads(line)
    return reply


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """The process and its child: it leads a process group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
