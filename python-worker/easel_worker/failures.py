"""Classifies an engine's exceptions: those of a request, and those of the worker's start."""

from easel_worker.engine import BadState, InvalidRequest, NotFinite
from easel_worker.exit_status import ExitStatus
from easel_worker.logs import Logger
from easel_worker.protocol import FailureCode


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the host or the device ran out of memory. XLA says so only in the error's text."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


_WILL_NOT_CHANGE = (
    ValueError,
    ImportError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
"""Errors of a wrong model, option or installation. Other OSErrors may be temporary."""


def did_not_start(error: Exception, log: Logger) -> ExitStatus:
    """Log in one line why the engine did not start, and return the exit status.

    For a wrong model or option the error's text says what to do. Any other error is a fault of the
    program or the machine: it is logged with its stack, and another start may succeed.
    """
    if is_out_of_memory(error):
        advice = "serve fewer or smaller --sizes, fewer --batch-lanes, or a smaller --dtype"
        log.fatal(f"out of memory at start: {advice}", reason=failure_text(error))
        return ExitStatus.OUT_OF_MEMORY
    if isinstance(error, _WILL_NOT_CHANGE):
        log.fatal(f"the engine did not start: {error}")
        return ExitStatus.WRONG
    if isinstance(error, OSError):
        log.fatal(f"the engine did not start: {error}")
    else:
        log.fatal("the engine did not start", err=error)
    return ExitStatus.FAILED


def failure_code(error: Exception) -> FailureCode:
    """The FAILED message's code for an error."""
    if isinstance(error, InvalidRequest):
        return "invalid"
    if isinstance(error, BadState):
        return "state"
    return "out_of_memory" if is_out_of_memory(error) else "internal"


def failure_text(error: Exception) -> str:
    """One line for the gateway's log. The worker's own log has the stack."""
    text = str(error).partition("\n")[0][:300]
    ours = isinstance(error, InvalidRequest | NotFinite | BadState)
    return text if ours else f"{type(error).__name__}: {text}"
