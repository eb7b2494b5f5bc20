"""Ctrl-C and SIGTERM in the first tenths of a second of a command, while it is still being imported: one
line, as later.

`data_gen.process.interrupts` takes over when the command begins. Imports are light here, since whatever comes
before `heed` is not heeded.
"""

import os
import signal
import sys
from types import FrameType


def heed() -> None:
    """From now on SIGINT and SIGTERM end this process at once, with one line and exit code 130 or 143.
    Nothing is held yet.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


def heed_as_command(package: str) -> None:
    """`heed`, where Python is just looking for a module of `package` that it is to run, as in `python -m
    data_gen.sample`.

    What is imported as a library changes no signals.
    """
    if sys.argv[:1] == ["-m"]:
        module = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv else ""
        if module.startswith(f"{package}."):
            heed()


def _end(number: int, frame: FrameType | None) -> None:
    said = "ended by SIGTERM" if number == signal.SIGTERM else "interrupted"
    os.write(2, f"prm-train: {said}\n".encode())
    os._exit(128 + number)
