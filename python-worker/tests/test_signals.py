"""Signals end a worker that cannot leave by itself. (tests/test_process.py has the usual cases.)"""

import json
import subprocess
import sys

from tests.support.process import ROOT


def run(program: str) -> tuple[int, list[str]]:
    """The exit status of a program, and what it logged."""
    start = """
import os, signal, time
from easel_worker.logs import Logger
from easel_worker.signals import Signals
signals = Signals(Logger(), grace_s=0.05, overdue_s=0.05)
"""
    command = [sys.executable, "-c", start + program]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, timeout=60, check=False)
    return done.returncode, [json.loads(line)["msg"] for line in done.stderr.splitlines()]


def test_a_worker_that_does_not_leave_in_time_is_ended() -> None:
    status, logged = run("""
signals.on_first(lambda: None)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(600)
""")
    assert status == 1
    assert logged[-1] == "not done 0 s after SIGTERM, exiting"


def test_handlers_that_the_engine_put_in_place_are_replaced() -> None:
    status, logged = run("""
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signals.on_first(lambda: os._exit(7))
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(600)
""")
    assert (status, logged) == (7, [])  # the act comes before the line that announces it


def test_a_signal_before_the_worker_is_ready_ends_it() -> None:
    status, logged = run("""
os.kill(os.getpid(), signal.SIGINT)
time.sleep(600)
""")
    assert (status, logged) == (0, ["SIGINT before the worker was ready, exiting"])
