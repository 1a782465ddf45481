"""What libraries log, warn or print, and what no one caught, sent through our logger.

Python's own ways to stderr would wait while a pipe is full, in whichever thread they are used.
"""

import io
import logging
import sys
import threading

from easel_worker.logs import LEVELS, Logger

LONGEST_PRINT = 1 << 16
"""Characters of a print without a newline that are kept; then they become a line."""


def capture(log: Logger) -> None:
    """From now on. Changes the process's hooks, `sys.stdout` and `sys.stderr`."""
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[_Bridge(log)], level=logging.WARNING, force=True)
    sys.excepthook = lambda _type, error, _trace: log.error("uncaught exception", err=error)
    threading.excepthook = lambda args: log.error(
        "uncaught exception in a thread",
        err=args.exc_value,
        thread=args.thread.name if args.thread else None,
    )
    sys.unraisablehook = lambda args: log.error(
        args.err_msg or "an exception that nothing could catch", err=args.exc_value
    )
    sys.stdout, sys.stderr = _Printed(log, "stdout"), _Printed(log, "stderr")


class _Bridge(logging.Handler):
    """The standard library's logging, written by our logger."""

    def __init__(self, log: Logger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = min(max(record.levelno, 10), 50) + 10  # DEBUG 10 → 20 … CRITICAL 50 → 60
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - a library's arguments do not fit its text
            text = str(record.msg)
        self._log.write(level, text, {"logger": record.name})


class _Printed(io.TextIOBase):
    """A text stream whose lines become warnings, as the gateway takes them that come as text."""

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
