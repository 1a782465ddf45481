"""Leaving in time: which images still fit before a worker must go."""

from collections.abc import Iterable
from dataclasses import dataclass

from easel_worker.scheduler import Size, Ticket

_WEIGHT = 0.3  # of the newest measurement


class Pace:
    """How long a step and a decoding of each size take, from what was measured."""

    def __init__(self) -> None:
        self._step_s: dict[Size, float] = {}
        self._decode_s: dict[Size, float] = {}

    def stepped(self, size: Size, seconds: float) -> None:
        """Remember how long a step took."""
        _blend(self._step_s, size, seconds)

    def decoded(self, size: Size, seconds: float) -> None:
        """Remember how long a decoding took."""
        _blend(self._decode_s, size, seconds)

    def at_least_s(self, size: Size, steps: int) -> float:
        """The time an image needs if nothing else runs; 0 for a size that was never measured."""
        return self._step_s.get(size, 0.0) * steps + self._decode_s.get(size, 0.0)


@dataclass(frozen=True)
class Departure:
    """The worker leaves at `at` (monotonic seconds)."""

    at: float
    reason: str

    def or_sooner(self, other: "Departure | None") -> "Departure":
        """The earlier of two departures."""
        return self if other is None or self.at < other.at else other

    def too_late(
        self, images: Iterable[tuple[Ticket, int]], pace: Pace, now: float
    ) -> dict[str, None]:
        """The requests, in order, with an image that cannot be done in time even when alone.

        They are told at once, and not only when the time is over: their clients can go elsewhere.
        """
        left = self.at - now
        return {
            ticket.request: None
            for ticket, steps in images
            if left <= 0 or pace.at_least_s(ticket.size, steps) > left
        }


def _blend(averages: dict[Size, float], size: Size, seconds: float) -> None:
    before = averages.get(size, seconds)
    averages[size] = before + _WEIGHT * (seconds - before)
