"""The watchdog ends a hung worker (a whole worker: tests/test_process.py)."""

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel_worker.exit_status import ExitStatus
from easel_worker.logs import Logger
from easel_worker.vitals import Vitals
from easel_worker.watchdog import LOOKS, Watchdog
from tests.support.lines import Lines
from tests.support.process import ROOT


class Kennel:
    """A watchdog that looks on demand and only records that it would end the process."""

    def __init__(self) -> None:
        self.vitals = Vitals()
        self.statuses: list[int] = []
        self.log = Lines()
        self.watchdog = Watchdog(self.vitals, 60.0, Logger(sink=self.log), self.statuses.append)

    def turn(self, rows: int) -> None:
        self.vitals.load(rows_in_use=rows, queued=0, rows_padded_total=0)

    def look(self, times: int) -> None:
        for _ in range(times):
            self.watchdog.look()


def test_it_ends_a_process_whose_loop_stops_while_rows_are_in_use() -> None:
    kennel = Kennel()
    kennel.turn(rows=4)
    kennel.look(LOOKS)
    assert kennel.statuses == []
    kennel.look(1)
    assert kennel.statuses == [ExitStatus.HUNG]
    (line,) = kennel.log.read()
    assert (line["level"], line["rows_in_use"]) == (60, 4)
    assert "no progress for 60 s" in line["msg"]
    assert __name__.rpartition(".")[2] in line["stack"]


class StuckLines(Lines):
    """A sink that drops lines."""

    def put(self, line: bytes) -> None:
        """Raise, which no sink should."""
        raise OSError(28, "No space left on device")


def test_it_ends_the_process_even_if_the_log_fails() -> None:
    statuses: list[int] = []
    vitals = Vitals()
    watchdog = Watchdog(vitals, 60.0, Logger(sink=StuckLines()), statuses.append)
    vitals.load(rows_in_use=4, queued=0, rows_padded_total=0)
    for _ in range(LOOKS):
        watchdog.look()
    with pytest.raises(OSError, match="No space"):
        watchdog.look()
    assert statuses == [ExitStatus.HUNG]


@given(turns=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3 * LOOKS)), max_size=8))
def test_it_does_not_end_a_moving_or_idle_worker(turns: list[tuple[int, int]]) -> None:
    kennel = Kennel()
    for rows, looks in turns:
        kennel.turn(rows)
        kennel.look(min(looks, LOOKS) if rows else looks)
    assert kennel.statuses == []


def test_it_needs_no_python_thread_to_run() -> None:
    """A C call that holds the GIL: neither heartbeats nor the watchdog run."""
    program = """
import ctypes
from easel_worker.logs import Logger
from easel_worker.vitals import Vitals
from easel_worker.watchdog import Watchdog
Watchdog(Vitals(), 0.5, Logger()).start()
ctypes.PyDLL(None).sleep(600)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == ExitStatus.FAILED
    assert b"Timeout" in done.stderr


def test_it_does_nothing_after_stop() -> None:
    watchdog = Watchdog(Vitals(), 3600.0, Logger(), lambda _: None)
    watchdog.start()
    assert "watchdog" in [thread.name for thread in threading.enumerate()]
    watchdog.stop()
    assert "watchdog" not in [thread.name for thread in threading.enumerate()]
