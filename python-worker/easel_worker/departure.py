"""Chooses which requests a worker still finishes when it must exit at a given time.

All images that have rows share the steps. With many images in flight none might finish in time,
although some could if the others were dropped. A departing worker therefore keeps as many requests
as it can finish, those with the least work left, and fails the others at once: this frees their
rows, and their clients can retry elsewhere.

If the step times are known exactly, this finishes at least as many requests as letting all of them
share (tests/test_departure_played.py). The choice is made again before each step with the latest
measurements: if the kept requests no longer fit, they are dropped one by one, the longest first.
"""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from easel_worker.engine import StepShape
from easel_worker.image import Image
from easel_worker.pace import Pace

_ROUNDING_S = 1e-6  # tolerance for the rounding of sums of floats


@dataclass(frozen=True)
class Departure:
    """The worker exits at `at` (monotonic seconds)."""

    at: float
    reason: str

    def or_sooner(self, other: "Departure | None") -> "Departure":
        """The earlier of two departures."""
        return self if other is None or self.at < other.at else other

    def too_late(self, images: Iterable[Image], pace: Pace, now: float, *, rows: int) -> list[str]:
        """The ids of the requests to fail now so that the others can finish, in order.

        Args:
            images: all images; those that have rows first, the others by arrival.
            pace: the measured times.
            now: monotonic seconds.
            rows: how many rows a step holds.
        """
        images = list(images)
        left = self.at - now
        kept = _most(images, pace, left, rows) if left > 0 else ()
        requests = dict.fromkeys(image.request.id for image in images)
        return [request for request in requests if request not in kept]


def _most(images: Sequence[Image], pace: Pace, left: float, rows: int) -> frozenset[str]:
    """The most requests that can finish in time: the longest prefix of any of three orders."""
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
        return max(shared_ends(alone, pace, rows)) <= left + _ROUNDING_S

    # The order in which images finish while all share is never worse than sharing. The other two
    # orders are better if a step takes longer the more rows it has.
    best: Sequence[str] = ()
    for key in (ends, steps, work):
        names = sorted(steps, key=lambda name, by=key: (by[name], ends[name]))  # type: ignore[misc]
        best = max(best, names[: _longest(names, fits)], key=len)
    return frozenset(best)


def _alone_s(image: Image, pace: Pace) -> float:
    spec = image.spec
    return image.steps_left * pace.step_s(spec.shape, spec.rows) + pace.decode_s(spec.size)


def shared_ends(images: Sequence[Image], pace: Pace, rows: int) -> list[float]:
    """When each image finishes if all share the steps, in seconds from now.

    Args:
        images: those that have rows first, the others in the order in which they get rows.
        pace: the measured times.
        rows: how many rows a step holds.
    """
    ends = [0.0] * len(images)
    sizes = {image.spec.size: _Sharing(rows) for image in images}
    for place, image in enumerate(images):
        sizes[image.spec.size].waiting.append((place, image))
    now, turns = 0.0, 0
    while running := {size: each for size, each in sizes.items() if each.admit(turns)}:
        # The shapes take turns; nothing changes until the next image is done.
        many = min(each.next_end for each in running.values()) - turns
        used = [step for each in running.values() for step in each.used.items()]
        now += many * sum(pace.step_s(shape, rows) for shape, rows in used)
        turns += many
        for size, each in running.items():
            for place in each.done(turns):
                now += pace.decode_s(size)
                ends[place] = now
    return ends


class _Sharing:
    """Simulates the images of one size."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._running: list[tuple[int, int, StepShape, int]] = []  # last turn, place, shape, rows
        self.waiting: deque[tuple[int, Image]] = deque()  # place and image
        self.used: Counter[StepShape] = Counter()  # rows of the shapes that have any

    @property
    def next_end(self) -> int:
        """The last turn of the image that finishes next."""
        return self._running[0][0]

    def admit(self, turn: int) -> bool:
        """Give free rows to waiting images; returns whether any image has rows."""
        while self.waiting and (not self._running or self._fits(self.waiting[0][1])):
            place, image = self.waiting.popleft()
            shape, rows = image.spec.shape, image.spec.rows
            heapq.heappush(self._running, (turn + image.steps_left, place, shape, rows))
            self.used[shape] += rows
        return bool(self._running)

    def done(self, turn: int) -> Iterator[int]:
        """Remove the images that have finished by this turn, and yield their places."""
        while self._running and self._running[0][0] <= turn:
            _, place, shape, rows = heapq.heappop(self._running)
            self.used[shape] -= rows
            if not self.used[shape]:
                del self.used[shape]
            yield place

    def _fits(self, image: Image) -> bool:
        return self.used.total() + image.spec.rows <= self._rows


def _longest(names: Sequence[str], fits: Callable[[Sequence[str]], bool]) -> int:
    """The length of the longest prefix that fits, given that all shorter ones fit."""
    low, high = 0, 1
    while high <= len(names) and fits(names[:high]):
        low, high = high, 2 * high
    high = min(high, len(names) + 1)
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(names[:middle]) else (low, middle)
    return low
