"""Logs that pino's readers understand."""

import io
import json
import subprocess
import sys
from typing import Any

import pytest

from easel_worker.logs import Logger


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_pinos_fields() -> None:
    stream = io.StringIO()
    log = Logger("debug", stream, clock=lambda: 12.3456, worker="w1")
    log.debug("a", n=1)
    log.info("b", id=None)
    log.warn("c")
    log.error("d")
    assert lines(stream) == [
        {"level": 20, "time": 12345, "msg": "a", "worker": "w1", "n": 1},
        {"level": 30, "time": 12345, "msg": "b", "worker": "w1"},
        {"level": 40, "time": 12345, "msg": "c", "worker": "w1"},
        {"level": 50, "time": 12345, "msg": "d", "worker": "w1"},
    ]


@pytest.mark.parametrize(("level", "written"), [("warn", ["c", "d"]), ("silent", [])])
def test_lower_levels_are_not_written(level: str, written: list[str]) -> None:
    stream = io.StringIO()
    log = Logger(level, stream)
    log.info("b")
    log.warn("c")
    log.error("d")
    assert [line["msg"] for line in lines(stream)] == written


def test_an_exception_is_written_with_its_stack_on_one_line() -> None:
    stream = io.StringIO()
    try:
        raise ValueError("no\ngood \ud800")
    except ValueError as error:
        Logger("info", stream).error("failed", err=error)
    (line,) = lines(stream)
    assert (line["err"]["type"], line["err"]["message"]) == ("ValueError", "no\ngood \ud800")
    assert "test_logs.py" in line["err"]["stack"]


def test_what_libraries_log_and_what_nobody_caught_is_json_as_well() -> None:
    program = """
import logging, threading, warnings
from easel_worker.logs import Logger, capture
capture(Logger(worker="w1"))
logging.getLogger("lib").warning("slow %s", "disk")
logging.getLogger("lib").info("not wanted")
warnings.warn("old", stacklevel=1)
thread = threading.Thread(target=lambda: 1 / 0, name="t")
thread.start()
thread.join()
raise KeyError("gone")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    written = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["level"], line["worker"]) for line in written] == [
        (40, "w1"),
        (40, "w1"),
        (50, "w1"),
        (50, "w1"),
    ]
    assert (written[0]["msg"], written[0]["logger"]) == ("slow disk", "lib")
    assert "old" in written[1]["msg"]
    assert (written[2]["err"]["type"], written[2]["thread"]) == ("ZeroDivisionError", "t")
    assert written[3]["err"]["type"] == "KeyError"
    assert done.returncode == 1
