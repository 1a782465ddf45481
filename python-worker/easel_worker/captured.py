"""Sends what libraries log, warn or print, and uncaught exceptions, through our logger.

Without this a library that writes to stderr blocks its thread while the pipe is full.
"""

import io
import logging
import sys
import threading

from easel_worker.logs import LEVELS, Logger

LONGEST_PRINT = 1 << 16
"""Printed text without a newline becomes a line once it has this many characters."""


def capture(log: Logger) -> None:
    """Redirect from now on: replaces the process's hooks, `sys.stdout` and `sys.stderr`."""
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[_Bridge(log)], level=logging.WARNING, force=True)
    sys.excepthook = lambda _type, error, _trace: log.error("uncaught exception", err=error)
    threading.excepthook = lambda args: log.error(
        "uncaught exception in a thread",
        err=args.exc_value,
        thread=args.thread.name if args.thread else None,
    )
    sys.unraisablehook = lambda args: log.error(
        args.err_msg or "an exception that could not be raised", err=args.exc_value
    )
    sys.stdout, sys.stderr = _Printed(log, "stdout"), _Printed(log, "stderr")


class _Bridge(logging.Handler):
    """Passes the standard library's log records to our logger."""

    def __init__(self, log: Logger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = min(max(record.levelno, 10), 50) + 10  # DEBUG 10 → 20 … CRITICAL 50 → 60
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - a library's arguments may not fit its format string
            text = str(record.msg)
        self._log.write(level, text, {"logger": record.name})


class _Printed(io.TextIOBase):
    """A text stream that logs each line as a warning, as the gateway does with plain text."""

    def __init__(self, log: Logger, name: str) -> None:
        super().__init__()
        self._log = log
        self._name = name
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        if len(self._rest) > LONGEST_PRINT:
            lines.append(self._rest)
            self._rest = ""
        for line in lines:
            if line.strip():
                self._log.write(LEVELS["warn"], line, {"logger": self._name})
        return len(text)
