"""Reports the progress of a download as log lines instead of a progress bar."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

LINE_EVERY_S = 5.0


class ProgressLines:
    """Stands in for tqdm in the hub's client: reports a line at most every `LINE_EVERY_S`."""

    def __init__(
        self,
        report: Callable[[str], None],
        name: str,
        *,
        total: int | None,
        initial: int = 0,
        clock: Callable[[], float] = time.monotonic,
        **_: Any,
    ) -> None:
        """Start at `initial` bytes.

        Args:
            report: called with each line.
            name: the file's name.
            total: the file's size in bytes, if known.
            initial: bytes downloaded before.
            clock: monotonic time in seconds.
        """
        self._report = report
        self._name = name
        self._total = total
        self._done = initial
        self._clock = clock
        self._reported = clock()
        if initial:
            self._report_line()

    def update(self, count: float | None = 1) -> None:
        """Add downloaded bytes. The count is negative if the server started over."""
        self._done += int(count or 0)
        now = self._clock()
        if self._done == self._total or now - self._reported >= LINE_EVERY_S:
            self._reported = now
            self._report_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def _report_line(self) -> None:
        of = "" if self._total is None else f" of {self._total / 1e6:.1f}"
        self._report(f"{self._name}: {self._done / 1e6:.1f}{of} MB")
