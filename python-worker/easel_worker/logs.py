"""Structured logs: one JSON object a line on stderr, in pino's form, so the gateway can join them.

A logger is made once in `__main__` and handed down; nothing here is global but what `capture` is
asked to redirect.
"""

import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, TextIO

LEVELS = {"trace": 10, "debug": 20, "info": 30, "warn": 40, "error": 50, "fatal": 60}
"""pino's numbers for its level names."""
SILENT = "silent"
"""pino's name for a level above all others."""


class Logger:
    """Writes JSON lines {level, time, msg, …}; `time` is in milliseconds since the epoch."""

    def __init__(
        self,
        level: str = "info",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.time,
        **bound: object,
    ) -> None:
        """Args: `level` is the lowest that is written; `bound` fields are part of every line."""
        self._least = (LEVELS | {SILENT: sys.maxsize})[level]
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._bound = bound
        self._lock = threading.Lock()

    def debug(self, msg: str, **fields: object) -> None:
        """For whoever looks for a fault."""
        self.write(LEVELS["debug"], msg, fields)

    def info(self, msg: str, **fields: object) -> None:
        """For whoever watches."""
        self.write(LEVELS["info"], msg, fields)

    def warn(self, msg: str, **fields: object) -> None:
        """Not as it should be, but dealt with."""
        self.write(LEVELS["warn"], msg, fields)

    def error(self, msg: str, **fields: object) -> None:
        """Something failed. Pass `err=exception` for its type, message and stack."""
        self.write(LEVELS["error"], msg, fields)

    def fatal(self, msg: str, **fields: object) -> None:
        """The process ends because of this."""
        self.write(LEVELS["fatal"], msg, fields)

    def write(self, level: int, msg: str, fields: dict[str, object]) -> None:
        """Write one line at a numeric level, unless the level is below the logger's."""
        if level < self._least:
            return
        line: dict[str, object] = {"level": level, "time": int(self._clock() * 1000), "msg": msg}
        line |= self._bound
        line |= {key: _jsonable(value) for key, value in fields.items() if value is not None}
        text = json.dumps(line, default=str)
        with self._lock:
            self._stream.write(text + "\n")
            self._stream.flush()


def capture(log: Logger) -> None:
    """Send what libraries log or warn, and what no one caught, through `log` as well."""
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[_Bridge(log)], level=logging.WARNING, force=True)
    sys.excepthook = lambda _type, error, _trace: log.error("uncaught exception", err=error)
    threading.excepthook = lambda args: log.error(
        "uncaught exception in a thread",
        err=args.exc_value,
        thread=args.thread.name if args.thread else None,
    )


class _Bridge(logging.Handler):
    """The standard library's logging, written by our logger."""

    def __init__(self, log: Logger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = min(max(record.levelno, 10), 50) + 10  # DEBUG 10 → 20 … CRITICAL 50 → 60
        self._log.write(level, record.getMessage(), {"logger": record.name})


def _jsonable(value: object) -> Any:
    """An exception as pino's `err` object; everything else as it is."""
    if not isinstance(value, BaseException):
        return value
    return {
        "type": type(value).__name__,
        "message": str(value),
        "stack": "".join(traceback.format_exception(value)),
    }
