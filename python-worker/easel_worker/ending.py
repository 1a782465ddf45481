"""Ends the process. Every exit goes through here."""

import os
from typing import NoReturn

from easel_worker.log_writer import FLUSH_S
from easel_worker.logs import Logger


def end_process(status: int, log: Logger) -> NoReturn:
    """End the process from any thread. Waits at most `FLUSH_S` seconds for the last log lines.

    A normal exit of the interpreter could take minutes: it joins threads that read or compile, and
    flushes buffers into a pipe that may be full.
    """
    try:
        log.flush(FLUSH_S)
    finally:
        os._exit(status)
