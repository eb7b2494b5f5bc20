"""Locks on files and folders that end with the process that holds them, however that ends."""

import errno
import fcntl
import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


def lock(descriptor: int, path: Path) -> bool:
    """Whether this process now holds `path`, which it has open as `descriptor`: no other one does, and none
    has just removed it.

    A file system without locks is warned of, and counts as held.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        logger.warning("%s: cannot be locked (%s): nothing keeps a second process out", path, error.strerror)
        return True
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())
