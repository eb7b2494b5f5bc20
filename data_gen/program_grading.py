r"""A grader for Python programs, as an example of a grader of one's own: `grader: data_gen.program_grading:grade`.

The solution holds its program in a fenced block of Python; the last one counts. The gold answer holds the tests, in one of two forms:

- lines of Python that use what the program defines: `assert add(1, 2) == 3`;
- JSON with one run of the program as a script each: `[{"stdin": "1 2\n", "stdout": "3\n"}]`; blanks at the ends of lines do not count.

Every program gets a process group of its own, an empty folder that is deleted afterwards, an empty environment, `python -I`, and limits on
memory, processor time, file size and number of processes; where `unshare` works, also name spaces of its own, without a network and with
its own process ids. A guard refuses other processes, connections, signals, writing outside of the folder, and reading outside of it and of
Python's own files. At the end of the wall-clock time the whole group is killed. The process reads the tests only after the program has run,
and they count as passed only if it then hands back a secret token, so a program that ends early passes nothing.

Verdicts: correct if all tests pass. Incorrect if one fails, and also if the program exceeds its memory, its output or `CPU_SECONDS`
of processor time: these limits belong to the task, and how busy the machine is cannot use them up. Unknown (timeout) if the wall-clock time
ends before the processor time does, since then the machine may be to blame, and an unknown is never a negative label; unknown
(no_answer) without a program, unknown (unparsable_gold) where the tests are no Python and no JSON of runs.

What this does NOT protect from: a program written to break out. The guard lives in the program's own process, so hostile native code,
or Python that searches the frames and file descriptors of the harness, can get around it, pass itself off as right, or reach what this user
may reach where `unshare` does not work; objects that claim to equal everything pass any assertion. Against solutions that policies write
in good faith it is enough; to train a policy against these verdicts, run the whole command in a container or virtual machine.
"""

import ast
import contextlib
import functools
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from data_gen import program_sandbox
from data_gen.records import CORRECT, INCORRECT, Verdict, unknown

CPU_SECONDS = 10
WALL_SECONDS = 30.0
MEMORY_BYTES = 1 << 30
FILE_BYTES = 4 << 20  # of each file a program writes, and of its output
N_TASKS = 32  # processes and threads; the kernel does not hold root to this limit

_BLOCK = re.compile(r"^[ \t]*```[ \t]*(?:python3?|py)?[ \t]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Run:
    """What became of one process; `exit_code` is None if the wall-clock time ended it."""

    exit_code: int | None
    output: str
    result: str


def grade(question: str, gold_answer: str, solution: str) -> Verdict:
    """The verdict of the tests in `gold_answer` on the program in `solution`."""
    program, tests = find_program(solution), read_tests(gold_answer)
    if program is None:
        return unknown("no_answer")
    if tests is None:
        return unknown("unparsable_gold")
    if isinstance(tests, str):
        token = secrets.token_hex(16)
        run = run_program(program, {"tests": tests, "token": token})
        return _verdict(run, run.result == token)
    for test in tests:
        run = run_program(program, stdin=test["stdin"])
        verdict = _verdict(run, run.exit_code == 0 and _lines(run.output) == _lines(test["stdout"]))
        if not verdict.is_correct:
            return verdict
    return CORRECT


def find_program(solution: str) -> str | None:
    """The last fenced block of Python; None if there is none or it is not closed."""
    blocks = _BLOCK.findall(solution)
    return blocks[-1] if blocks else None


def read_tests(gold_answer: str) -> str | list[dict[str, str]] | None:
    """Python source, runs with `stdin` and `stdout`, or None where it is neither."""
    with contextlib.suppress(ValueError):
        runs = json.loads(gold_answer)
        is_runs = isinstance(runs, list) and runs and all(isinstance(run, dict) and set(run) == {"stdin", "stdout"} for run in runs)
        return runs if is_runs and all(isinstance(text, str) for run in runs for text in run.values()) else None
    with contextlib.suppress(SyntaxError, ValueError):
        return gold_answer if ast.parse(gold_answer).body else None
    return None


def _verdict(run: Run, is_right: bool) -> Verdict:
    if is_right:
        return CORRECT
    return unknown("timeout") if run.exit_code is None else INCORRECT


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


# --- the process


def run_program(program: str, test: dict[str, str] | None = None, stdin: str = "") -> Run:
    """One process with one program; its folder is deleted and its process group killed afterwards."""
    limits = {
        "RLIMIT_AS": MEMORY_BYTES,
        "RLIMIT_CPU": CPU_SECONDS,
        "RLIMIT_FSIZE": FILE_BYTES,
        "RLIMIT_NPROC": _n_tasks() + N_TASKS,
        "RLIMIT_CORE": 0,
    }
    lines = [{"program": program, "limits": limits}, *([test] if test else [])]
    folder = tempfile.mkdtemp(prefix="program-")
    try:
        with (
            _file("".join(json.dumps(line) + "\n" for line in lines)) as task,
            _file(stdin) as stdin_file,
            _file() as output,
            _file() as result,
        ):
            exit_code = _run(folder, task.fileno(), stdin_file.fileno(), subprocess.DEVNULL if test else output.fileno(), result.fileno())
            return Run(exit_code, _content(output), _content(result))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(folder: str, task: int, stdin: int, output: int, result: int) -> int | None:
    sandbox = [sys.executable, "-I", "-B", program_sandbox.__file__, str(task), str(result)]
    environment = {"PATH": "/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*_name_spaces(), *sandbox],
        cwd=folder,
        env=environment,
        stdin=stdin,
        stdout=output,
        stderr=subprocess.DEVNULL,
        pass_fds=(task, result),
        start_new_session=True,
    ) as process:
        try:
            return process.wait(WALL_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _file(content: str = "") -> "tempfile._TemporaryFileWrapper[bytes]":
    """A file without a name: neither side can block the other as with a pipe, and the limit on files bounds what is written."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 the caller closes it
    file.write(content.encode(errors="surrogatepass"))
    file.seek(0)
    return file  # type: ignore[return-value]


def _content(file: "tempfile._TemporaryFileWrapper[bytes]") -> str:
    file.seek(0)
    return file.read(FILE_BYTES).decode(errors="replace")


@functools.cache
def _name_spaces() -> tuple[str, ...]:
    """The command that starts another in name spaces of its own, where this machine allows it."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    command = (unshare, "--user", "--map-root-user", "--net", "--ipc", "--pid", "--fork", "--kill-child")
    return () if subprocess.run([*command, "true"], capture_output=True, check=False).returncode else command


def _n_tasks() -> int:
    """Processes and threads that this user runs already: the kernel counts them all against the limit of each."""
    n_tasks = 0
    for folder in Path("/proc").glob("[0-9]*/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # it has just ended, or is not ours to see
            n_tasks += len(list(folder.iterdir())) if folder.stat().st_uid == os.getuid() else 0
    return n_tasks
