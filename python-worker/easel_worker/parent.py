"""Ends a worker together with the gateway that started it.

There are two mechanisms. Standard input closes, on every system, even if the gateway releases its
worker without dying; but a Python thread has to run to notice. On Linux the kernel also kills the
worker when the gateway dies, even inside a compiler or while stopped.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

STDIN = 0
_PR_SET_PDEATHSIG = 1


def exit_with_parent() -> None:
    """End the process, with status 0 or by SIGKILL, as soon as the gateway has died.

    Logs nothing, because the gateway was the log's reader.
    """
    threading.Thread(target=_watch_stdin, name="parent", daemon=True).start()
    if sys.platform == "linux":
        die_with_parent()


def die_with_parent(
    parent: Callable[[], int] = os.getppid, leave: Callable[[int], object] = os._exit
) -> None:
    """Ask the kernel to kill this process when the thread that started it ends.

    prctl(2) watches the thread, not the process: Node starts processes from its main thread, which
    lives as long as the gateway. If a wrapper started the worker without `exec`, the wrapper is the
    parent. If the call is not allowed, standard input still ends the worker.

    Args:
        parent: returns the parent's process id.
        leave: ends the process with a status.
    """
    before = parent()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # A parent that died before the prctl call sends no signal. If it died before this function was
    # called, standard input is closed. An id of 1 proves nothing: a container's gateway may be 1.
    if parent() != before:
        leave(0)


def _watch_stdin() -> NoReturn:
    with contextlib.suppress(OSError):  # standard input was never open
        while os.read(STDIN, 4096):
            pass
    os._exit(0)
