"""Leaving in time: which requests a worker still finishes before it must go.

All images that have rows share the steps, so with many of them in flight none may be done in time,
although some could be if the others let them. A worker that leaves therefore keeps as many requests
as it can finish, those with the least left to do, and gives up the others at once: their rows are
free for the rest, and their clients can go elsewhere.

With the times known, no fewer requests are finished than if all went on sharing
(tests/test_departure_played.py). What is measured on the way corrects the choice before each step:
if those that were kept do not all fit after all, they are given up one by one, the longest first.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from easel_worker.image import Image
from easel_worker.pace import Pace

_EXACT_S = 1e-6  # sums of floats are no more exact


@dataclass(frozen=True)
class Departure:
    """The worker leaves at `at` (monotonic seconds)."""

    at: float
    reason: str

    def or_sooner(self, other: "Departure | None") -> "Departure":
        """The earlier of two departures."""
        return self if other is None or self.at < other.at else other

    def too_late(self, images: Iterable[Image], pace: Pace, now: float, *, rows: int) -> list[str]:
        """The requests, in order, that are to be given up so that others can be finished.

        Args:
            images: all of them, those that have rows first, the others by arrival.
            pace: what was measured.
            now: monotonic seconds.
            rows: how many rows a step holds.
        """
        images = list(images)
        left = self.at - now
        kept = _most(images, pace, left, rows) if left > 0 else ()
        requests = dict.fromkeys(image.request.id for image in images)
        return [request for request in requests if request not in kept]


def _most(images: Sequence[Image], pace: Pace, left: float, rows: int) -> frozenset[str]:
    """The most requests that can be done in time: the longest beginning of one of some orders."""
    steps: dict[str, int] = {}
    work: dict[str, float] = {}
    ends: dict[str, float] = {}
    for image, end in zip(images, shared_ends(images, pace, rows), strict=True):
        name = image.request.id
        steps[name] = max(steps.get(name, 0), image.steps_left)
        work[name] = work.get(name, 0.0) + _alone_s(image, pace)
        ends[name] = max(ends.get(name, 0.0), end)

    def fits(names: Sequence[str]) -> bool:
        chosen = frozenset(names)
        alone = [image for image in images if image.request.id in chosen]
        return max(shared_ends(alone, pace, rows)) <= left + _EXACT_S

    # What is done first if all go on sharing goes first: so much can be done in any case. The other
    # orders are better where a step takes the longer the more rows it has.
    best: Sequence[str] = ()
    for key in (ends, steps, work):
        names = sorted(steps, key=lambda name, by=key: (by[name], ends[name]))  # type: ignore[misc]
        best = max(best, names[: _longest(names, fits)], key=len)
    return frozenset(best)


def _alone_s(image: Image, pace: Pace) -> float:
    spec = image.spec
    return image.steps_left * pace.step_s(spec.size, spec.rows) + pace.decode_s(spec.size)


def shared_ends(images: Sequence[Image], pace: Pace, rows: int) -> list[float]:
    """When each image is done, in seconds from now, if all share the steps.

    Args:
        images: those that have rows first, the others in the order in which they get them.
        pace: what was measured.
        rows: how many rows a step holds, of each size.
    """
    ends = [0.0] * len(images)
    sizes = {image.spec.size: _Sharing(rows) for image in images}
    for place, image in enumerate(images):
        sizes[image.spec.size].waiting.append((place, image.spec.rows, image.steps_left))
    now, turns = 0.0, 0
    while running := {size: each for size, each in sizes.items() if each.admit(turns)}:
        # The sizes take turns; until the next image is done nothing changes.
        many = min(each.next_end for each in running.values()) - turns
        now += many * sum(pace.step_s(size, each.used) for size, each in running.items())
        turns += many
        for size, each in running.items():
            for place in each.done(turns):
                now += pace.decode_s(size)
                ends[place] = now
    return ends


class _Sharing:
    """The images of one size, played forward."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._running: list[tuple[int, int, int]] = []  # turn of its end, place, rows
        self.waiting: deque[tuple[int, int, int]] = deque()  # place, rows, steps
        self.used = 0

    @property
    def next_end(self) -> int:
        """The turn after which the next image is done."""
        return self._running[0][0]

    def admit(self, turn: int) -> bool:
        """Give rows to those that wait; whether any image has some then."""
        while self.waiting and (not self._running or self.used + self.waiting[0][1] <= self._rows):
            place, rows, steps = self.waiting.popleft()
            heapq.heappush(self._running, (turn + steps, place, rows))
            self.used += rows
        return bool(self._running)

    def done(self, turn: int) -> Iterator[int]:
        """The places of the images that are done by now."""
        while self._running and self._running[0][0] <= turn:
            _, place, rows = heapq.heappop(self._running)
            self.used -= rows
            yield place


def _longest(names: Sequence[str], fits: Callable[[Sequence[str]], bool]) -> int:
    """The length of the longest beginning that fits, if all shorter ones do."""
    low, high = 0, 1
    while high <= len(names) and fits(names[:high]):
        low, high = high, 2 * high
    high = min(high, len(names) + 1)
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(names[:middle]) else (low, middle)
    return low
