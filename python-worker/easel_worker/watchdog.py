"""Ends a worker that hangs: whoever watches processes starts the dead again, not the stuck.

Once the worker is ready, it hangs when rows are in use and the loop does not come back from the
engine (or from anything else) for the whole limit. Looks are counted and not clocks compared, so
the time in which the whole process was stopped does not count.
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
"""How often it looks within the limit: a hang is noticed at most a tenth of the limit late."""


class Watchdog:
    """Looks at the vitals from a thread of its own."""

    def __init__(
        self,
        vitals: Vitals,
        limit_s: float,
        log: Logger,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        """To be made on the thread that runs the loop.

        Args:
            vitals: of the loop.
            limit_s: how long the loop may stand still while rows are in use.
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
        """Watch from now on."""
        self._arm()
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Count the looks at which the loop stood still with rows in use; at the last, end."""
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
        """Be ready for a hang in which no thread of Python's runs, for want of the global lock.

        Heartbeats stop then too. A thread of C writes the stacks as plain text; the status is 1.
        It also ends a worker whose watchdog does not come to its end.
        """
        faulthandler.dump_traceback_later(self._limit_s, exit=True, file=STDERR)

    def _end_process(self, rows: int) -> None:
        try:
            frame = sys._current_frames().get(self._watched)
            stack = "".join(traceback.format_stack(frame)) if frame else "the loop's thread ended"
            self._log.fatal(
                f"the worker hangs: no progress for {self._limit_s:g} s with rows in use; exiting, "
                "to be started again (--step-timeout sets the limit)",
                rows_in_use=rows,
                stack=stack,
            )
            self._log.flush(FLUSH_S)
        finally:
            self._exit(ExitStatus.HUNG)
