"""How far a download is, as lines for a log instead of a bar for a terminal."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

LINE_EVERY_S = 5.0


class ProgressLines:
    """What the hub's client takes for a bar of tqdm: told of bytes, it says a line now and then."""

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
        """Begin to count.

        Args:
            report: takes each line.
            name: of what is fetched.
            total: its bytes, if known.
            initial: how many of them are there already.
            clock: seconds that go on.
        """
        self._report = report
        self._name = name
        self._total = total
        self._done = initial
        self._clock = clock
        self._said = clock()
        if initial:
            self._say()

    def update(self, count: float | None = 1) -> None:
        """So many bytes more have come; fewer, where a server began anew."""
        self._done += int(count or 0)
        now = self._clock()
        if self._done == self._total or now - self._said >= LINE_EVERY_S:
            self._said = now
            self._say()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def _say(self) -> None:
        of = "" if self._total is None else f" of {self._total / 1e6:.1f}"
        self._report(f"{self._name}: {self._done / 1e6:.1f}{of} MB")
