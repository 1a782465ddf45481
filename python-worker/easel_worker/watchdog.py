"""Ends a worker that hangs: supervisors restart a dead process, but not a hung one.

A worker that is ready hangs if rows are in use and the loop makes no turn during the whole limit.
The watchdog counts its looks and does not compare clocks, so time during which the whole process
was stopped does not count.
"""

import faulthandler
import os
import sys
import threading
import traceback
from collections.abc import Callable

from easel_worker.exit_status import ExitStatus
from easel_worker.log_writer import FLUSH_S, STDERR
from easel_worker.logs import Logger
from easel_worker.vitals import Vitals

LOOKS = 10
"""How often it looks within the limit: it notices a hang at most a tenth of the limit late."""


class Watchdog:
    """Watches the vitals from a thread of its own."""

    def __init__(
        self,
        vitals: Vitals,
        limit_s: float,
        log: Logger,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        """Call this on the thread that runs the loop.

        Args:
            vitals: the loop's vitals.
            limit_s: how many seconds the loop may make no turn while rows are in use.
            log: the worker's logger.
            exit_process: ends the process with a status.
        """
        self._vitals = vitals
        self._limit_s = limit_s
        self._log = log
        self._exit = exit_process
        self._watched = threading.get_ident()
        self._turn = -1
        self._still = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._arm()
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Count looks without a turn while rows are in use; at the last one end the process."""
        turn, rows = self._vitals.turn()
        if rows == 0 or turn != self._turn:
            self._turn, self._still = turn, 0
            return
        self._still += 1
        if self._still >= LOOKS:
            self._end_process(rows)

    def _run(self) -> None:
        interval_s = self._limit_s / LOOKS
        while not self._done.wait(interval_s):
            self._arm()
            self.look()
        faulthandler.cancel_dump_traceback_later()

    def _arm(self) -> None:
        """Restart faulthandler's timer, for a hang in which native code holds the GIL.

        No Python thread runs then, so heartbeats stop too. A C thread writes the stacks as plain
        text and exits with status 1. It also ends a worker whose watchdog hangs while exiting.
        """
        faulthandler.dump_traceback_later(self._limit_s, exit=True, file=STDERR)

    def _end_process(self, rows: int) -> None:
        try:
            frame = sys._current_frames().get(self._watched)
            stack = "".join(traceback.format_stack(frame)) if frame else "the loop's thread ended"
            self._log.fatal(
                f"the worker hangs: no progress for {self._limit_s:g} s with rows in use; exiting "
                "so that it is restarted (--step-timeout sets the limit)",
                rows_in_use=rows,
                stack=stack,
            )
            self._log.flush(FLUSH_S)
        finally:
            self._exit(ExitStatus.HUNG)
