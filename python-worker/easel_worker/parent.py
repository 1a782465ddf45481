"""A worker that its gateway started ends with it, whatever the worker is doing.

Two ways see the gateway's death. Standard input closes, on every system, and tells of a gateway
that lets go of its worker without dying, too; but a thread of Python's has to run to see it. The
kernel kills the worker, on Linux: also one that is inside of a compiler, or stopped.
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

    It logs nothing: the log's reader is what has died.
    """
    threading.Thread(target=_watch_stdin, name="parent", daemon=True).start()
    if sys.platform == "linux":
        die_with_parent()


def die_with_parent(
    parent: Callable[[], int] = os.getppid, leave: Callable[[int], object] = os._exit
) -> None:
    """Have the kernel kill this process when the thread that started it ends.

    The thread, not the process (prctl(2)): Node spawns from its main thread, which lives as long as
    the gateway. A wrapper that starts the worker without `exec` is its parent in the gateway's
    place. Where the call is not allowed standard input remains.

    Args:
        parent: the parent's process id.
        leave: ends the process with a status.
    """
    before = parent()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # A parent that died before the call sends no signal. One that died before this function was
    # called has closed standard input. (1 would prove nothing: a container's gateway may be 1.)
    if parent() != before:
        leave(0)


def _watch_stdin() -> NoReturn:
    with contextlib.suppress(OSError):  # it was never open
        while os.read(STDIN, 4096):
            pass
    os._exit(0)
