"""The time line of a worker's start: what began and ended when, since the process began."""

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
    """A part of the start, in seconds since the process began. `note` may say more."""

    name: str
    start: float
    end: float
    note: str = ""


class Timeline:
    """Collects spans from several threads."""

    def __init__(
        self, age: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Args: `age` is the process's in seconds; by default the system is asked for it."""
        self._clock = clock
        self._origin = clock() - (process_age() if age is None else age)
        self._lock = threading.Lock()
        self._spans: list[Span] = []

    def now(self) -> float:
        """Seconds since the process began."""
        return self._clock() - self._origin

    def add(self, name: str, start: float, note: str = "") -> Span:
        """A span that ends now."""
        span = Span(name, round(start, 3), round(self.now(), 3), note)
        with self._lock:
            self._spans.append(span)
        return span

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """A span that ends when the context is left, unless an error leaves it."""
        start = self.now()
        yield
        self.add(name, start)

    def once(self, name: str) -> Span | None:
        """A moment, the first time that it is named; None at later times."""
        with self._lock:
            if any(span.name == name for span in self._spans):
                return None
        return self.add(name, self.now())

    @property
    def spans(self) -> tuple[Span, ...]:
        """All so far, in the order of their starts."""
        with self._lock:
            return tuple(sorted(self._spans, key=lambda span: span.start))

    def line(self) -> str:
        """All of it for people: `imports 0.0-1.4, weights 1.5-4.0, encode 1.5-2.2 (compiled)`."""
        return ", ".join(_shown(span) for span in self.spans)

    def plain(self) -> list[dict[str, Any]]:
        """All of it for programs."""
        return [asdict(span) for span in self.spans]


def _shown(span: Span) -> str:
    note = f" ({span.note})" if span.note else ""
    return f"{span.name} {span.start:.1f}-{span.end:.1f}{note}"


def process_age() -> float:
    """Seconds since this process began; 0 where the system (not Linux) does not say."""
    if sys.platform != "linux":
        return 0.0
    # proc_pid_stat(5): the 22nd field, in ticks since boot. The second one may hold spaces.
    fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
