"""A sink for log lines that a test reads."""

import json
from typing import Any


class Lines:
    """A logger's sink that keeps the lines."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def put(self, line: bytes) -> None:
        """Keep a line."""
        assert line.endswith(b"\n")
        self._lines.append(line)

    def flush(self, timeout_s: float) -> bool:
        """Do nothing: there is no buffer."""
        return True

    def read(self) -> list[dict[str, Any]]:
        """Return the lines logged so far."""
        return [json.loads(line) for line in self._lines]
