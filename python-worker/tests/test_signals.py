"""Signals end a worker that cannot exit by itself (the usual cases: tests/test_process.py)."""

import json
import subprocess
import sys

from tests.support.process import ROOT


def run(program: str) -> tuple[int, list[str]]:
    """Run a program; returns its exit status and its log."""
    start = """
import os, signal, time
from easel_worker.logs import Logger
from easel_worker.signals import Signals
signals = Signals(Logger(), grace_s=0.05, overdue_s=0.05)
"""
    command = [sys.executable, "-c", start + program]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, timeout=60, check=False)
    return done.returncode, [json.loads(line)["msg"] for line in done.stderr.splitlines()]


def test_a_worker_that_does_not_exit_in_time_is_ended() -> None:
    status, logged = run("""
signals.on_first(lambda: None)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(600)
""")
    assert status == 1
    assert logged[-1] == "not done 0 s after SIGTERM, exiting"


def test_signal_handlers_of_libraries_are_replaced() -> None:
    status, logged = run("""
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signals.on_first(lambda: os._exit(7))
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(600)
""")
    assert (status, logged) == (7, [])  # the exit may come before its log line


def test_a_signal_before_the_worker_is_ready_ends_it() -> None:
    status, logged = run("""
os.kill(os.getpid(), signal.SIGINT)
time.sleep(600)
""")
    assert (status, logged) == (0, ["SIGINT before the worker was ready, exiting"])
