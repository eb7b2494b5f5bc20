r"""A grader for Python programs, as an example of a grader of one's own: `grader:
data_gen.grading.program:grade`.

The solution holds its program in a fenced block of Python; the last one counts. The gold answer holds the
tests, in one of two forms:

- lines of Python that use what the program defines: `assert add(1, 2) == 3`;
- JSON with one run of the program as a script each: `[{"stdin": "1 2\n", "stdout": "3\n"}]`; blanks at the
  ends of lines do not count.

Programs run isolated from the machine by name spaces and, where libseccomp is there, a filter of system calls
(isolation.py says what is walled off): no network, no other programs, nothing to read but Python itself and
/usr, nothing to write but a /tmp of their own, limits on memory, processor time and file sizes, and all of it
ends with this process. One line of the log says which walls this machine gives. A machine without name spaces
(many containers: Docker needs `--security-opt seccomp=unconfined --security-opt apparmor=unconfined` or a
profile that allows `unshare`) is refused, since a program could do there whatever you can. Where that is no
harm, as in a virtual machine for this purpose, PRM_TRAIN_UNSAFE_PROGRAMS=1 in the environment runs them all
the same, under the limits and the filter alone.

Verdicts are found outside of the program's process, which never sees the tests or the expected outputs:
printed output is compared here, and tests run in a process of their own that only calls the program
(remote_program.py). Correct if all tests pass. Incorrect if one fails, and also if the program exceeds its
memory, its output or `CPU_SECONDS` of processor time: these limits belong to the task, and how busy the
machine is cannot use them up. Unknown (timeout) if the wall-clock time ends before the processor time does,
since then the machine may be to blame, and an unknown is never a negative label; unknown (untestable) where a
test compares an object of the program's own class with a value, hands it an object of a class of its own, or
ends its own process; unknown (no_answer) without a program, unknown (unparsable_gold) where the tests are no
Python and no JSON of runs.

What this does NOT protect from: faults of the kernel; a program that says yes where the tests ask nothing but
its own word (methods and comparisons of its own objects); one that knows the expected values by heart; and,
with PRM_TRAIN_UNSAFE_PROGRAMS, anything.
"""

import ast
import contextlib
import functools
import json
import logging
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

from data_gen.grading import program_sandbox
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict, unknown
from data_gen.settings.errors import InputError

CPU_SECONDS = 10
WALL_SECONDS = 30.0
MEMORY_BYTES = 1 << 30
FILE_BYTES = 4 << 20  # of each file a program writes, and of its output
N_TASKS = 64  # threads
N_OPEN_FILES = 64
UNSAFE = "PRM_TRAIN_UNSAFE_PROGRAMS"

logger = logging.getLogger(__name__)
_FENCE = re.compile(r"[ \t]*```[ \t]*([^\s`]*)")


@dataclass(frozen=True)
class Run:
    """What became of one program; `exit_code` is None if the wall-clock time ended it, `tests` is passed,
    failed or untestable.

    `tests` is None where they ended without a word, and where there are none.
    """

    exit_code: int | None
    output: str
    tests: str | None


def grade(question: str, gold_answer: str, solution: str) -> Verdict:
    """The verdict of the tests in `gold_answer` on the program in `solution`. Raises InputError where
    programs cannot be isolated.
    """
    program, tests = find_program(solution), read_tests(gold_answer)
    if program is None:
        return unknown("no_answer")
    if tests is None:
        return unknown("unparsable_gold")
    if isinstance(tests, str):
        run = run_program(program, tests)
        cannot_say = run.exit_code is not None and run.tests not in ("passed", "failed")
        return unknown("untestable") if cannot_say else _verdict(run, run.tests == "passed")
    for test in tests:
        run = run_program(program, stdin=test["stdin"])
        verdict = _verdict(run, run.exit_code == 0 and _lines(run.output) == _lines(test["stdout"]))
        if not verdict.is_correct:
            return verdict
    return CORRECT


def find_program(solution: str) -> str | None:
    """The last fenced block of Python; None if there is none or it is not closed."""
    program = None
    block: list[str] | None = None
    is_python = False
    for line in solution.splitlines(keepends=True):
        fence = _FENCE.match(line)
        if block is None and fence:
            block, is_python = [], fence[1].lower() in ("", "py", "python", "python3")
        elif fence:
            program = "".join(block or ()) if is_python else program
            block = None
        elif block is not None:
            block.append(line)
    return program


def read_tests(gold_answer: str) -> str | list[dict[str, str]] | None:
    """Python source, runs with `stdin` and `stdout`, or None where it is neither."""
    with contextlib.suppress(ValueError, RecursionError):
        runs = json.loads(gold_answer)
        is_runs = (
            isinstance(runs, list)
            and runs
            and all(isinstance(run, dict) and set(run) == {"stdin", "stdout"} for run in runs)
        )
        return (
            runs if is_runs and all(isinstance(text, str) for run in runs for text in run.values()) else None
        )
    # The last two: nested too deeply
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        return gold_answer if ast.parse(gold_answer).body else None
    return None


def _verdict(run: Run, is_right: bool) -> Verdict:
    if is_right:
        return CORRECT
    return unknown("timeout") if run.exit_code is None else INCORRECT


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


# --- the process


@functools.cache
def check_machine() -> bool:
    """Whether programs run in name spaces here. Raises InputError where they cannot and nobody has said that
    this is no harm.
    """
    *_, said = _start("", None, "", name_spaces=True)
    if "broken" not in said:
        logger.info("programs are isolated by: %s", "; ".join(said["layers"]))
        if "seccomp" not in said["layers"]:
            logger.warning(
                "no libseccomp.so.2 here: a program may start others inside of its walls (Debian: apt "
                "install libseccomp2)"
            )
        return True
    if os.environ.get(UNSAFE) != "1":
        raise InputError(
            "grader data_gen.grading.program: this machine gives no name spaces to isolate programs with "
            f"({said['broken']}), "
            "so they could do whatever you can; use a machine that allows `unshare --user`, or set "
            f"{UNSAFE}=1 if no harm can come of it"
        )
    logger.warning("%s=1: programs are not isolated (%s) and can do whatever you can", UNSAFE, said["broken"])
    return False


def run_program(program: str, tests: str | None = None, stdin: str = "") -> Run:
    """One program under tests, or as a script. Nothing of it is left afterwards. Raises InputError on a
    machine that cannot isolate it.
    """
    exit_code, output, said = _start(program, tests, stdin, check_machine())
    if "broken" in said:
        raise InputError(f"program_grading: a sandbox could not be set up: {said['broken']}")
    return Run(exit_code, output, said.get("tests"))


def _start(
    program: str, tests: str | None, stdin: str, name_spaces: bool
) -> tuple[int | None, str, dict[str, Any]]:
    limits = {
        "RLIMIT_AS": MEMORY_BYTES,
        "RLIMIT_CPU": CPU_SECONDS,
        "RLIMIT_FSIZE": FILE_BYTES,
        "RLIMIT_NPROC": N_TASKS,
        "RLIMIT_NOFILE": N_OPEN_FILES,
        "RLIMIT_CORE": 0,
    }
    task = {
        "program": program,
        "has_tests": tests is not None,
        "limits": limits,
        "wall_seconds": WALL_SECONDS,
        "name_spaces": name_spaces,
    }
    # Name spaces bring a folder of their own
    folder = "/" if name_spaces else tempfile.mkdtemp(prefix="program-")
    try:
        with (
            _file(json.dumps(task)) as task_file,
            _file(tests or "") as tests_file,
            _file(stdin) as input_file,
            _file() as output,
            _file() as result,
        ):
            files = [file.fileno() for file in (task_file, tests_file, result)]
            exit_code = _wait(
                folder,
                files,
                input_file.fileno(),
                subprocess.DEVNULL if tests is not None else output.fileno(),
            )
            said: dict[str, Any] = {}
            for line in _content(result).splitlines():
                said |= json.loads(line)
            if not said and exit_code is not None:
                said = {"broken": f"exit code {exit_code}"}
            return exit_code, _content(output), said
    finally:
        if not name_spaces:
            shutil.rmtree(folder, ignore_errors=True)


def _wait(folder: str, files: list[int], stdin: int, output: int) -> int | None:
    home = "/tmp" if folder == "/" else folder
    with subprocess.Popen(
        [sys.executable, "-I", "-B", program_sandbox.__file__, str(os.getpid()), *map(str, files)],
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": home,
            "TMPDIR": home,
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
        },
        stdin=stdin,
        stdout=output,
        stderr=subprocess.DEVNULL,
        pass_fds=files,
        start_new_session=True,
    ) as process:
        try:
            # It ends itself at the end of the wall-clock time
            exit_code = process.wait(math.ceil(WALL_SECONDS) + 5)
            return None if exit_code == -signal.SIGALRM else exit_code
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _file(content: str = "") -> "tempfile._TemporaryFileWrapper[bytes]":
    """A file without a name: neither side can block the other as with a pipe, and the limit on files bounds
    what is written.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 the caller closes it
    file.write(content.encode(errors="surrogatepass"))
    file.seek(0)
    return file  # type: ignore[return-value]


def _content(file: "tempfile._TemporaryFileWrapper[bytes]") -> str:
    file.seek(0)
    return file.read(FILE_BYTES).decode(errors="replace")
