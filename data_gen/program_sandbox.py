"""What runs in the process of program_grading.py: one Python program under limits, then its tests. Nothing of ours is imported.

`python -I program_sandbox.py TASK RESULT` takes two open file descriptors. TASK holds a line of JSON `{"program", "limits"}` and, if there
are tests in Python, another `{"tests", "token"}`, which is read when the program has run. The token is written to RESULT when the last test
has passed. The program finds its standard input where it expects it.
"""

import json
import os
import resource
import sys
from types import ModuleType
from typing import Any

BLOCKED = (  # audit events, by their beginnings: other processes, the network, signals, and ways around this guard
    *("os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "os.kill", "pty.spawn", "subprocess.", "signal.pthread_kill"),
    *(
        "socket.connect",
        "socket.bind",
        "socket.send",
        "socket.getaddrinfo",
        "socket.gethostby",
        "resource.",
        "ctypes.dlopen",
        "ctypes.dlsym",
    ),
)
CHANGES_FILES = (
    "os.chmod",
    "os.chown",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
    "os.utime",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
N_WRITES = 64  # files opened for writing; with the limit on the size of each, what a program can fill of the disk


def main() -> None:
    task_file, result_file = (int(argument) for argument in sys.argv[1:])
    tasks = os.fdopen(task_file, encoding="utf-8")
    task = json.loads(tasks.readline())
    for name, limit in task["limits"].items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    sys.argv = ["program.py"]
    guard()
    line = tasks.readline()
    program = run(ModuleType("program" if line else "__main__"), task["program"], "program.py")
    if line:  # a program that is tested as a module does not run what it keeps for `__main__`
        test = json.loads(line)
        run(program, test["tests"], "tests.py")
        os.write(result_file, test["token"].encode())
        os._exit(0)


def run(module: ModuleType, source: str, filename: str) -> ModuleType:
    sys.modules[module.__name__] = module
    exec(compile(source, filename, "exec"), module.__dict__)
    return module


def guard() -> None:
    """Refuse, by an audit hook that cannot be removed, what a solution has no need of (program_grading.py says what this is worth)."""
    folder = os.path.realpath(".")
    readable = [os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, "/usr/lib", "/usr/share", "/lib", "/lib64")]
    readable += [folder, "/dev/null", "/dev/urandom", "/etc/localtime"]
    writable = [folder, "/dev/null"]
    n_writes = 0

    def is_inside(path: Any, roots: list[str]) -> bool:
        real = os.path.realpath(os.fsdecode(path))
        return any(real == root or real.startswith(root + "/") for root in roots)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal n_writes
        if event == "open" and not isinstance(arguments[0], int):  # a descriptor is open already
            is_writing = bool(arguments[2] & WRITING)
            n_writes += is_writing
            if n_writes > N_WRITES or not is_inside(arguments[0], writable if is_writing else readable):
                raise PermissionError(f"this program may not open {arguments[0]!r}")
        elif event in CHANGES_FILES or event == "sqlite3.connect":
            if not all(is_inside(path, writable) for path in arguments if isinstance(path, str | bytes)):
                raise PermissionError(f"this program may not call {event} on {arguments!r}")
        elif event.startswith(BLOCKED) and not (event == "ctypes.dlopen" and arguments[0] is None):
            raise PermissionError(f"this program may not call {event}")

    sys.addaudithook(hook)


if __name__ == "__main__":
    main()
