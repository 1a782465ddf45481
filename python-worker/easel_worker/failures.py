"""What an engine's exception means for the request."""

from easel_worker.engine import InvalidJob
from easel_worker.protocol import FailureCode


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the host or the device ran out of memory. (XLA says so in the error's text only.)"""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def failure_code(error: Exception) -> FailureCode:
    """The code of the FAILED message."""
    if isinstance(error, InvalidJob):
        return "invalid"
    return "out_of_memory" if is_out_of_memory(error) else "internal"


def failure_text(error: Exception) -> str:
    """One line for the gateway's log; the stack stays in the worker's."""
    text = str(error).partition("\n")[0][:300]
    return text if isinstance(error, InvalidJob) else f"{type(error).__name__}: {text}"
