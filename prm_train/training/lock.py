"""One training at a time in a folder: a second one would take the first one's checkpoints for its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data_gen.files.locks import lock
from data_gen.settings.errors import InputError

LOCK = ".training.lock"


@contextmanager
def training_lock(output: Path) -> Iterator[None]:
    """Hold the folder for this process; nothing of the lock stays. It ends with the process, however that ends.

    Raises InputError if another training holds it. A file system without locks is warned of, and trained on.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"output {output}: is a file; expected a folder, or none yet")
    is_new = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    path = output / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not lock(descriptor, path):
            raise InputError(f"output {output}: another training is at work in this folder; expected one at a time, or a folder for each")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if is_new:
                with suppress(OSError):  # not empty: the training got somewhere
                    output.rmdir()
    finally:
        os.close(descriptor)
