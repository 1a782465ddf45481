"""Handles signals even while the main thread is inside a compiler or a step.

Python runs signal handlers on the main thread between two bytecodes, which may take minutes while
XLA compiles. So another thread reads the signals from the interpreter's wake-up socket.
"""

import signal
import socket
import threading
from collections.abc import Callable
from typing import NoReturn

from easel_worker.ending import end_process
from easel_worker.logs import Logger

TERMINATING = (signal.SIGTERM, signal.SIGINT)
OVERDUE_S = 5.0


class Signals:
    """The first signal starts draining; a second one, or an overdue exit, ends the process."""

    def __init__(self, log: Logger, grace_s: float, overdue_s: float = OVERDUE_S) -> None:
        """Call this on the main thread.

        Args:
            log: the worker's logger.
            grace_s: how long draining may take.
            overdue_s: this long after `grace_s` the process ends with status 1.
        """
        self._log = log
        self._patience_s = grace_s + overdue_s
        self._leave: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._signals, self._wake_up = socket.socketpair()
        self._wake_up.setblocking(False)
        self._install()
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    def on_first(self, leave: Callable[[], None]) -> None:
        """From now on the first signal calls `leave`; before, it ends the process with status 0."""
        self._install()  # a library that the engine loaded may have replaced the handlers
        with self._lock:
            self._leave = leave

    def _install(self) -> None:
        signal.set_wakeup_fd(self._wake_up.fileno(), warn_on_full_buffer=False)
        for number in TERMINATING:
            signal.signal(number, lambda *_: None)

    def _watch(self) -> None:
        name = signal.Signals(self._next()).name
        with self._lock:
            leave = self._leave
        if leave is None:
            self._exit(0, f"{name} before the worker was ready, exiting")
        leave()
        self._log.info(f"{name}: draining; a second signal exits at once")
        self._signals.settimeout(self._patience_s)
        try:
            again = self._next()
        except TimeoutError:
            self._exit(1, f"not done {self._patience_s:.0f} s after {name}, exiting")
        self._exit(128 + again, "second signal, exiting at once")

    def _next(self) -> int:
        """The number of the next terminating signal."""
        while (number := self._signals.recv(1)[0]) not in TERMINATING:
            pass
        return number

    def _exit(self, status: int, why: str) -> NoReturn:
        self._log.warn(why)
        end_process(status, self._log)
