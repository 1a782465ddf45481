"""Library logs, warnings, prints and uncaught exceptions become log lines."""

import json
import subprocess
import sys
from typing import Any

from tests.support.process import ROOT

START = """
import logging, sys, threading, warnings
from easel_worker.captured import capture
from easel_worker.logs import Logger
capture(Logger(worker="w1"))
"""


def run(program: str) -> tuple[int, list[dict[str, Any]]]:
    """Run a program; returns its exit status and its log."""
    done = subprocess.run(
        [sys.executable, "-c", START + program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["worker"] for line in lines} == {"w1"}
    return done.returncode, lines


def test_library_logs_and_warnings_are_logged() -> None:
    status, lines = run("""
logging.getLogger("lib").warning("slow %s", "disk")
logging.getLogger("lib").info("not wanted")
logging.getLogger("lib").error("%d", "no number")
warnings.warn("old", stacklevel=1)
""")
    assert status == 0
    assert [(line["level"], line["logger"]) for line in lines] == [
        (40, "lib"),
        (50, "lib"),
        (40, "py.warnings"),
    ]
    assert [line["msg"] for line in lines[:2]] == ["slow disk", "%d"]
    assert "old" in lines[2]["msg"]


def test_uncaught_exceptions_are_logged() -> None:
    status, lines = run("""
class Fragile:
    def __del__(self):
        raise OSError("torn")

thread = threading.Thread(target=lambda: 1 / 0, name="t")
thread.start()
thread.join()
fragile = Fragile()
del fragile
raise KeyError("gone")
""")
    assert status == 1
    assert [line["level"] for line in lines] == [50, 50, 50]
    types = [line["err"]["type"] for line in lines]
    assert types == ["ZeroDivisionError", "OSError", "KeyError"]
    assert lines[0]["thread"] == "t"


def test_printed_lines_are_logged() -> None:
    status, lines = run("""
print("one", 2)
print("not", end="")
print(" yet\\n\\nthree", file=sys.stderr)
sys.stdout.write("x" * 70_000)
""")
    assert status == 0
    assert {line["level"] for line in lines} == {40}
    assert [(line["logger"], line["msg"]) for line in lines] == [
        ("stdout", "one 2"),
        ("stderr", " yet"),
        ("stderr", "three"),
        ("stdout", "not" + "x" * 70_000),
    ]
