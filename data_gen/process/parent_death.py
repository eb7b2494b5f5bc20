"""A process that ends when the one that started it does, however that ends: for servers and commands that
nobody could end any more.
"""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with_parent() -> None:
    """For `preexec_fn` of `subprocess.Popen`: SIGTERM when the thread that starts the process ends. Does
    nothing but on Linux.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
