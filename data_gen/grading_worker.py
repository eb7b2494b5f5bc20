"""Whether two answers are equal by algebra, asked of a process of its own that can be killed.

math-verify and sympy may run for hours or eat all memory on an answer like 9^{9^{9}}, and neither a thread nor an alarm stops every such
case. So the question goes to `python grading_worker.py` as a line of JSON, and where the reply takes too long the process is killed and a
new one started at the next question. The worker imports nothing of ours, cannot outgrow its memory limit, and ends by itself when its
stdin closes or an alarm of the kernel finds it still busy after its parent is gone.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

START_SECONDS = 60.0  # importing sympy on a busy machine
N_QUESTIONS = 5000  # after these a worker is replaced: sympy's caches only grow


class WorkerError(Exception):
    """The worker gave no verdict; `reason` is timeout, or how it ended."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AlgebraWorker:
    """One worker process, started at the first question and again after a kill. Threads take turns."""

    def __init__(self, timeout_seconds: float, memory_gib: float) -> None:
        self.timeout_seconds = timeout_seconds
        self.memory_gib = memory_gib
        self._process: subprocess.Popen[bytes] | None = None
        self._n_asked = 0
        self._lock = threading.Lock()

    def ask(self, gold: str, answer: str) -> dict[str, Any]:
        """`{"is_equal": bool}`, or `{"unknown": reason}` where an answer cannot be parsed or is too large. Raises WorkerError."""
        with self._lock:
            if self._process is None or self._process.poll() is not None or self._n_asked >= N_QUESTIONS:
                self._stop()
                self._start()
            self._n_asked += 1
            return self._exchange({"gold": gold, "answer": answer}, self.timeout_seconds)

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _start(self) -> None:
        command = [sys.executable, "-P", str(Path(__file__)), str(int(self.memory_gib * 2**30)), str(int(self.timeout_seconds) + 2)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment)
        self._n_asked = 0
        weakref.finalize(self, _kill, self._process)
        try:
            self._exchange({}, START_SECONDS)
        except WorkerError as error:  # a broken installation must not pass for answers that nobody can judge
            how = f"echo '{{}}' | {' '.join(command)}"
            raise RuntimeError(f"the grading worker did not start: {error.reason}; to see why, run: {how}") from error

    def _stop(self) -> None:
        if self._process is not None:
            _kill(self._process)
            self._process = None

    def _exchange(self, question: dict[str, str], timeout_seconds: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        deadline, reply = time.monotonic() + timeout_seconds, b""
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
            with selectors.DefaultSelector() as selector:
                selector.register(self._process.stdout, selectors.EVENT_READ)
                while not reply.endswith(b"\n"):
                    if not selector.select(deadline - time.monotonic()):
                        raise WorkerError("timeout")
                    part = os.read(self._process.stdout.fileno(), 65536)
                    if not part:
                        raise WorkerError(f"crash (exit code {self._process.wait()})")
                    reply += part
        except (WorkerError, BrokenPipeError) as error:
            self._stop()
            raise error if isinstance(error, WorkerError) else WorkerError("crash (broken pipe)") from error
        value: dict[str, Any] = json.loads(reply)
        return value


def _kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


# --- inside the worker


def serve(max_bytes: int, max_seconds: int) -> None:
    """Answer questions from stdin until it closes."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
    import math_verify  # noqa: F401 the reply to the first, empty question says that the worker is ready

    for line in sys.stdin.buffer:
        question = json.loads(line)
        signal.alarm(max_seconds)  # no handler: the kernel ends this process, even inside one long multiplication
        reply = compare(question["gold"], question["answer"]) if question else {}
        signal.alarm(0)
        if question and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > max_bytes / 2:
            sys.exit("out of memory")  # math-verify answers False where an allocation failed, which must not become a verdict
        sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
        sys.stdout.buffer.flush()


def compare(gold: str, answer: str) -> dict[str, Any]:
    gold_parsed, parsed = _parse(gold), _parse(answer)
    if not gold_parsed or not parsed:
        return {"unknown": "unparsable"}
    from math_verify import verify

    return {"is_equal": verify(gold_parsed, parsed, timeout_seconds=None, allow_set_relation_comp=True)}


def _parse(answer: str) -> list[Any]:
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

    has_text = any(command in answer for command in ("\\text", "\\mbox", "\\mathrm"))  # a unit stands in text; the t of 4t is no tonne
    normalization = NormalizationConfig(basic_latex=True, units=has_text, malformed_operators=True, nits=True, boxed="all", equations=False)
    targets = (LatexExtractionConfig(normalization_config=normalization), ExprExtractionConfig())
    parsed: list[Any] = parse(f"${answer}$", targets, fallback_mode="no_fallback", parsing_timeout=None)
    return parsed


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
