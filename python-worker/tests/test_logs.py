"""Log lines in pino's format."""

from typing import Any

import pytest

from easel_worker.logs import Logger
from tests.support.lines import Lines


def test_a_line_has_pinos_fields() -> None:
    lines = Lines()
    log = Logger("debug", lines, clock=lambda: 12.3456, worker="w1")
    log.debug("a", n=1)
    log.info("b", id=None)
    log.warn("c")
    log.error("d")
    assert lines.read() == [
        {"level": 20, "time": 12345, "msg": "a", "worker": "w1", "n": 1},
        {"level": 30, "time": 12345, "msg": "b", "worker": "w1"},
        {"level": 40, "time": 12345, "msg": "c", "worker": "w1"},
        {"level": 50, "time": 12345, "msg": "d", "worker": "w1"},
    ]


@pytest.mark.parametrize(("level", "written"), [("warn", ["c", "d"]), ("silent", [])])
def test_lower_levels_are_not_written(level: str, written: list[str]) -> None:
    lines = Lines()
    log = Logger(level, lines)
    log.info("b")
    log.warn("c")
    log.error("d")
    assert [line["msg"] for line in lines.read()] == written


def test_an_exception_is_written_with_its_stack_on_one_line() -> None:
    lines = Lines()
    try:
        raise ValueError("no\ngood \ud800")
    except ValueError as error:
        Logger("info", lines).error("failed", err=error)
    (line,) = lines.read()
    assert (line["err"]["type"], line["err"]["message"]) == ("ValueError", "no\ngood \ud800")
    assert "test_logs.py" in line["err"]["stack"]


class Unprintable(Exception):
    """An exception whose text cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_fields_that_cannot_be_written_are_left_out() -> None:
    circle: list[Any] = []
    circle.append(circle)
    lines = Lines()
    for value in (Unprintable(), [Unprintable()], circle, {(1, 2): 3}):
        Logger("info", lines, worker="w1").error("failed", err=value)
    told = [(line["level"], line["msg"], line["worker"]) for line in lines.read()]
    assert told == [(50, "failed", "w1")] * 4
    assert all(line["fields"].startswith("left out: ") for line in lines.read())
