"""Events for the loop from other threads, in order of arrival."""

import threading
from collections import deque
from dataclasses import dataclass

from easel_worker.protocol import Cancel, Generate


@dataclass(frozen=True)
class Received:
    """The gateway sent or cancelled a request at `at` (monotonic seconds)."""

    message: Generate | Cancel
    at: float


@dataclass(frozen=True)
class Lost:
    """The session with the gateway is over, so nobody waits for the running requests."""

    reason: str


@dataclass(frozen=True)
class Leave:
    """Finish what fits in `grace_s` seconds, then exit."""

    grace_s: float
    reason: str


@dataclass(frozen=True)
class TurnedAway:
    """The gateway refused the worker."""

    code: str
    message: str


@dataclass(frozen=True)
class Prepared:
    """The engine has done what an image waited for."""


@dataclass(frozen=True)
class Broken:
    """The transport failed with an unexpected error; nothing can be sent any more."""

    error: Exception


Event = Received | Lost | Leave | TurnedAway | Prepared | Broken


class Mailbox:
    """A queue of events with one reader. `put` never blocks; writers check `full` first."""

    def __init__(self, capacity: int = 4096) -> None:
        """Args: `capacity` is the number of events at which `full` becomes true."""
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._arrived = threading.Condition()

    def put(self, event: Event) -> None:
        """Add an event and wake the reader."""
        with self._arrived:
            self._events.append(event)
            self._arrived.notify()

    def take(self, timeout: float | None) -> list[Event]:
        """All queued events. Waits at most `timeout` seconds (None: forever) for the first one."""
        with self._arrived:
            self._arrived.wait_for(lambda: bool(self._events), timeout)
            events = list(self._events)
            self._events.clear()
            return events

    @property
    def full(self) -> bool:
        """Whether writers should wait."""
        return len(self._events) >= self._capacity
