"""What program_grading.py starts for each program: `python -I program_sandbox.py PARENT TASK TESTS RESULT`,
the last three open descriptors.

TASK holds a line of JSON `{"program", "has_tests", "limits", "wall_seconds", "name_spaces"}`. Without tests
the program runs as a script, with the standard input and output it finds. With them two isolated processes
(isolation.py) are started and talk over a pair of sockets: one holds the program and answers calls, the other
reads TESTS, runs them (remote_program.py) and writes `{"tests": ...}` to RESULT: passed, failed or
untestable. The program's process has no descriptor of TESTS or RESULT and has never read them, so it can
neither learn what the tests expect nor say how they ended. RESULT also takes a line of each process with the
walls that stand round it, or what broke.

This process ends itself at the end of the wall-clock time and with its parent, and all others end with it.
"""

import ast
import json
import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # `python -I` leaves our folder out
from data_gen.grading.isolation import Walls, die_with_parent, run_isolated
from data_gen.grading.remote_program import Peer, Untestable, names_for_tests

del sys.path[0]
TESTS_MEMORY = 4  # times the memory of the program, whose answers they keep


def main() -> None:
    parent, task_file, tests_file, result_file = (int(argument) for argument in sys.argv[1:])
    die_with_parent()
    if os.getppid() != parent:
        sys.exit("the process that asked for this has ended")
    with os.fdopen(task_file, encoding="utf-8") as file:
        task = json.load(file)
    signal.setitimer(signal.ITIMER_REAL, task["wall_seconds"])  # its signal ends this process
    sys.argv = ["program.py"]

    walls = Walls(task["limits"], task["wall_seconds"], task["name_spaces"])

    def report(line: dict[str, Any]) -> None:
        os.write(result_file, json.dumps(line).encode() + b"\n")

    def script() -> None:
        _close_all_but()
        _run(ModuleType("__main__"), task["program"], "program.py")

    if not task["has_tests"]:
        _, status = os.waitpid(run_isolated(script, walls, report), 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    near, far = socket.socketpair()

    def program() -> None:
        _close_all_but(far.fileno())
        # One that is tested as a module does not run what it keeps for `__main__`
        module = ModuleType("program")
        Peer(far.makefile("rwb"), lambda: _run(module, task["program"], "program.py")).serve()
        os._exit(0)  # whatever threads it has left

    def tests() -> None:
        with os.fdopen(tests_file, encoding="utf-8", errors="surrogatepass") as file:
            report({"tests": _outcome(file.read(), Peer(near.makefile("rwb")))})

    programs = run_isolated(program, walls, report)
    far.close()
    # the time that the tests take is no fault of the program, so only the wall-clock time bounds it
    wider = {"RLIMIT_AS": TESTS_MEMORY * walls.limits["RLIMIT_AS"], "RLIMIT_CPU": int(walls.wall_seconds) + 1}
    os.waitpid(run_isolated(tests, replace(walls, limits=walls.limits | wider), report), 0)
    os.kill(programs, signal.SIGKILL)
    os.waitpid(programs, 0)
    os._exit(0)


def _run(module: ModuleType, source: str, filename: str) -> ModuleType:
    sys.modules[module.__name__] = module
    exec(compile(source, filename, "exec"), module.__dict__)
    return module


def _outcome(tests: str, peer: Peer) -> str:
    module = ModuleType("program")  # the tests may import from it what they test
    passed = False
    try:
        vars(module).update(names_for_tests(peer, _names(tests)))
        _run(module, tests, "tests.py")
        passed = True
    except BaseException:  # noqa: BLE001 whatever it is, the tests have not passed; `peer.failure` says if it was not the program's fault
        pass
    if isinstance(peer.failure, Untestable):
        return "untestable"
    return "passed" if passed and peer.failure is None else "failed"


def _names(tests: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(tests)))
    names = {node.id for node in nodes if isinstance(node, ast.Name)} | {
        node.attr for node in nodes if isinstance(node, ast.Attribute)
    }
    return names | {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}


def _close_all_but(*kept: int) -> None:
    for descriptor in range(3, 256):
        if descriptor not in kept:
            try:
                os.close(descriptor)
            except OSError:  # none of this number
                continue


if __name__ == "__main__":
    main()
