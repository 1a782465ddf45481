"""Structured logs: one JSON object per line on stderr, in pino's format like the gateway's.

`__main__` makes one logger and passes it on; only `capture` changes global state. A call to a
logger neither blocks nor raises, even if the line is lost.
"""

import json
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol

from easel_worker.log_writer import LogWriter

LEVELS = {"trace": 10, "debug": 20, "info": 30, "warn": 40, "error": 50, "fatal": 60}
"""pino's numbers for its level names."""
SILENT = "silent"
"""pino's name for the level that logs nothing."""


class Sink(Protocol):
    """Receives log lines."""

    def put(self, line: bytes) -> None:
        """Take a line that ends with a newline, without blocking."""

    def flush(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` seconds until all lines are written; returns whether they are."""


class Logger:
    """Writes JSON lines {level, time, msg, …}; `time` is in milliseconds since the epoch."""

    def __init__(
        self,
        level: str = "info",
        sink: Sink | None = None,
        clock: Callable[[], float] = time.time,
        **bound: object,
    ) -> None:
        """Args:

        level: the lowest level that is written.
        sink: receives the lines; None for stderr.
        clock: seconds since the epoch.
        bound: fields that every line has.
        """
        self._least = (LEVELS | {SILENT: sys.maxsize})[level]
        self._clock = clock
        self._bound = bound
        self._sink = sink if sink is not None else LogWriter(self._lost_line)

    def debug(self, msg: str, **fields: object) -> None:
        """Log details that help to find a fault."""
        self.write(LEVELS["debug"], msg, fields)

    def info(self, msg: str, **fields: object) -> None:
        """Log a normal event."""
        self.write(LEVELS["info"], msg, fields)

    def warn(self, msg: str, **fields: object) -> None:
        """Log a problem that was handled."""
        self.write(LEVELS["warn"], msg, fields)

    def error(self, msg: str, **fields: object) -> None:
        """Log a failure. Pass `err=exception` for its type, message and stack."""
        self.write(LEVELS["error"], msg, fields)

    def fatal(self, msg: str, **fields: object) -> None:
        """Log the reason why the process ends."""
        self.write(LEVELS["fatal"], msg, fields)

    def write(self, level: int, msg: str, fields: dict[str, object]) -> None:
        """Write one line at a numeric level, unless the level is below the logger's."""
        if level < self._least:
            return
        try:
            line = self._line(level, msg, fields)
        except Exception as error:  # noqa: BLE001 - a value's __str__ may raise anything
            why = f"left out: writing them raised {type(error).__name__}"
            line = self._line(level, msg, {"fields": why})
        self._sink.put(line)

    def flush(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` seconds until all lines are written; returns whether they are."""
        return self._sink.flush(timeout_s)

    def _line(self, level: int, msg: str, fields: dict[str, object]) -> bytes:
        line: dict[str, object] = {"level": level, "time": int(self._clock() * 1000), "msg": msg}
        line |= self._bound
        line |= {key: _jsonable(value) for key, value in fields.items() if value is not None}
        return (json.dumps(line, default=str) + "\n").encode()

    def _lost_line(self, count: int) -> bytes:
        what = f"{count} log lines were lost: standard error was full or could not be written"
        return self._line(LEVELS["warn"], what, {"lost": count})


def _jsonable(value: object) -> Any:
    """An exception as pino's `err` object; any other value unchanged."""
    if not isinstance(value, BaseException):
        return value
    return {
        "type": type(value).__name__,
        "message": str(value),
        "stack": "".join(traceback.format_exception(value)),
    }
