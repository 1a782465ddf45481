"""Signals and the parent's death, seen even while the main thread is inside a compiler or a step.

Python runs signal handlers on the main thread between two bytecodes, which may be minutes away when
XLA compiles. So the signals are blocked everywhere, and one thread waits for them.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from easel_worker.logs import Logger

TERMINATING = frozenset({signal.SIGTERM, signal.SIGINT})
OVERDUE_S = 5.0


class Signals:
    """The first signal asks to leave; the second one, or too long a delay, ends the process."""

    def __init__(self, log: Logger, grace_s: float) -> None:
        """Blocks the signals. Call it on the main thread, before any other thread starts."""
        self._log = log
        self._grace_s = grace_s
        self._leave: Callable[[], None] | None = None
        self._lock = threading.Lock()
        signal.pthread_sigmask(signal.SIG_BLOCK, TERMINATING)
        threading.Thread(target=self._wait, name="signals", daemon=True).start()

    def on_first(self, leave: Callable[[], None]) -> None:
        """From now on the first signal calls `leave`. Before, it ends the process with status 0."""
        with self._lock:
            self._leave = leave

    def _wait(self) -> None:
        name = signal.Signals(signal.sigwait(TERMINATING)).name
        with self._lock:
            leave = self._leave
        if leave is None:
            self._exit(0, f"{name} before the worker was ready, exiting")
        self._log.info(f"{name}: leaving; a second signal exits at once")
        leave()
        again = signal.sigtimedwait(TERMINATING, self._grace_s + OVERDUE_S)
        if again is None:
            self._exit(1, f"{name} was {self._grace_s + OVERDUE_S:.0f} s ago, exiting")
        self._exit(128 + again.si_signo, "second signal, exiting at once")

    def _exit(self, status: int, why: str) -> NoReturn:
        self._log.warn(why)
        os._exit(status)


def exit_with_parent(log: Logger) -> None:
    """End the process as soon as standard input closes, which is when the gateway has died."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        log.warn("standard input closed: the gateway is gone, exiting")
        os._exit(0)

    threading.Thread(target=watch, name="parent", daemon=True).start()
