"""What the system refuses, as a line for a person: a full disk, a read-only one, a path that leads through a
file, one more open file.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
KERNEL = ("/proc/", "/sys/")  # where the kernel has no place for new files, and says so in these words
NOT_THERE = (
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)
TOO_MANY_OPEN = (errno.EMFILE, errno.ENFILE)


def describe_disk_fault(error: OSError) -> tuple[str, int] | None:
    """The line and the exit code (1: the same command goes on; 2: only another path will do); None for other
    errors.
    """
    if error.errno in FULL:
        return (
            f"the disk is full ({error}); what is finished is kept: make room and run the same command again",
            1,
        )
    if error.errno in NOT_THERE or (error.errno == errno.ENOENT and str(error.filename).startswith(KERNEL)):
        return (
            f"{error.filename}: cannot be written or read there ({error.strerror}); expected another path, "
            "or the right to use it",
            2,
        )
    if error.errno in TOO_MANY_OPEN:
        return (
            f"{error.strerror} ({error.filename or 'a socket or pipe'}); expected a higher limit (ulimit "
            "-n), or fewer at a time",
            2,
        )
    return None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Around the saving of weights to `folder`: safetensors and torch say of a failing disk with errors of
    their own; raises OSError.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        number = _error_number(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(folder)) from error


def _error_number(error: Exception) -> int | None:
    found = re.search(r"\(os error (\d+)\)", str(error))
    if found:
        return int(found[1])
    # torch.save forgets the reason; what ends a file before its time is a full disk
    is_cut_off = "inline_container.cc" in str(error) and "unexpected pos" in str(error)
    return errno.ENOSPC if is_cut_off or "PytorchStreamWriter failed writing" in str(error) else None
