"""Exit statuses, by which a supervisor decides whether to start the worker again."""

from enum import IntEnum


class ExitStatus(IntEnum):
    """The process's exit status. 2 is a usage error."""

    DRAINED = 0
    FAILED = 1
    REFUSED = 3
    OUT_OF_MEMORY = 4
    BROKEN = 5
    HUNG = 6
    WRONG = 7
    """The model or an option is wrong: another start would fail in the same way."""
