"""Leaving in time: which requests are finished before a worker must go.

Were the rows shared by all until the end, requests that came together would all be nearly done
then, and none finished. So as many as fit are kept, those with the least left to do first; the
others are told at once, and their clients can go elsewhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from easel_worker.pace import Pace
from easel_worker.scheduler import Size, Ticket

FIRST_MARGIN = 1.1
"""What is kept at first must fit with this much to spare: images that share their steps end
together, so being late by a little would lose all of them."""


@dataclass(frozen=True)
class Departure:
    """The worker leaves at `at` (monotonic seconds)."""

    at: float
    reason: str

    def or_sooner(self, other: "Departure | None") -> "Departure":
        """The earlier of two departures."""
        return self if other is None or self.at < other.at else other

    def too_late(
        self, images: Iterable[tuple[Ticket, int]], pace: Pace, now: float, margin: float = 1.0
    ) -> dict[str, None]:
        """The requests, in order, that are not finished in time beside those that are kept.

        Args:
            images: all that are left, and the steps that each still needs.
            pace: what was measured.
            now: in seconds of the clock of `at`.
            margin: how many times its time a set of requests must fit into what is left.
        """
        left = self.at - now
        requests: dict[str, list[tuple[Size, int, int]]] = {}
        for ticket, steps in images:
            requests.setdefault(ticket.request, []).append((ticket.size, ticket.rows, steps))
        kept: list[tuple[Size, int, int]] = []
        dropped: set[str] = set()
        for request in sorted(requests, key=lambda name: pace.all_done_s(requests[name])):
            together = [*kept, *requests[request]]
            if left > 0 and pace.all_done_s(together) * margin <= left:
                kept = together
            else:
                dropped.add(request)
        return dict.fromkeys(request for request in requests if request in dropped)
