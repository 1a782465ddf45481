"""The time line of a worker's start: when each part began and ended."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FIRST_IMAGE = "first image"


@dataclass(frozen=True)
class Span:
    """A part of the start, in seconds since the process began. `note` adds a detail."""

    name: str
    start: float
    end: float
    note: str = ""


class Timeline:
    """Records spans. Safe to use from several threads."""

    def __init__(
        self, age: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Args:

        age: the process's age in seconds; None to ask the system.
        clock: monotonic seconds.
        """
        self._clock = clock
        self._origin = clock() - (process_age() if age is None else age)
        self._lock = threading.Lock()
        self._spans: list[Span] = []

    def now(self) -> float:
        """Seconds since the process began."""
        return self._clock() - self._origin

    def add(self, name: str, start: float, note: str = "") -> Span:
        """Record a span that ends now."""
        span = Span(name, round(start, 3), round(self.now(), 3), note)
        with self._lock:
            self._spans.append(span)
        return span

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Record a span that ends when the context exits. An error records nothing."""
        start = self.now()
        yield
        self.add(name, start)

    def once(self, name: str) -> Span | None:
        """Record the first moment of this name; returns None for later ones."""
        with self._lock:
            if any(span.name == name for span in self._spans):
                return None
        return self.add(name, self.now())

    @property
    def spans(self) -> tuple[Span, ...]:
        """The spans recorded so far, in order of their starts."""
        with self._lock:
            return tuple(sorted(self._spans, key=lambda span: span.start))

    def line(self) -> str:
        """The spans as text: `imports 0.0-1.4, weights 1.5-4.0, encode 1.5-2.2 (compiled)`."""
        return ", ".join(_shown(span) for span in self.spans)

    def plain(self) -> list[dict[str, Any]]:
        """The spans as plain values for a log line."""
        return [asdict(span) for span in self.spans]


def _shown(span: Span) -> str:
    note = f" ({span.note})" if span.note else ""
    return f"{span.name} {span.start:.1f}-{span.end:.1f}{note}"


def process_age() -> float:
    """Seconds since this process began; 0 on systems other than Linux."""
    if sys.platform != "linux":
        return 0.0
    # proc_pid_stat(5): the 22nd field, in ticks since boot. The second field may contain spaces.
    fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
