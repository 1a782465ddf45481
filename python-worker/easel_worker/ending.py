"""The one way out of the process."""

import os
from typing import NoReturn

from easel_worker.log_writer import FLUSH_S
from easel_worker.logs import Logger


def end_process(status: int, log: Logger) -> NoReturn:
    """End the process with a status, from any thread; the last log lines get `FLUSH_S` seconds.

    Nothing else is waited for. The interpreter's own end would join threads that read or compile,
    and write what is still buffered to a pipe that may be full.
    """
    try:
        log.flush(FLUSH_S)
    finally:
        os._exit(status)
