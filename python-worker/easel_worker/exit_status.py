"""Why the process ended, for whoever starts it again."""

from enum import IntEnum


class ExitStatus(IntEnum):
    """The process's exit status. (2 is a usage error.)"""

    DRAINED = 0
    FAILED = 1
    REFUSED = 3
    OUT_OF_MEMORY = 4
    BROKEN = 5
    HUNG = 6
    WRONG = 7
    """The model or a setting is wrong: another start would end in the same way."""
