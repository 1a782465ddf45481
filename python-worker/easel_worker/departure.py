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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from easel_worker.admission import Room, Use, admissible
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

    def too_late(self, images: Iterable[Image], pace: Pace, now: float, room: Room) -> list[str]:
        """The ids of the requests to fail now so that the others can finish, in order.

        Args:
            images: all images; those that have rows first, the others by arrival.
            pace: the measured times.
            now: monotonic seconds.
            room: what images in flight share.
        """
        images = list(images)
        left = self.at - now
        kept = _most(images, pace, left, room) if left > 0 else ()
        requests = dict.fromkeys(image.request.id for image in images)
        return [request for request in requests if request not in kept]


def _most(images: Sequence[Image], pace: Pace, left: float, room: Room) -> frozenset[str]:
    """The most requests that can finish in time: the longest prefix of any of three orders."""
    steps: dict[str, int] = {}
    work: dict[str, float] = {}
    ends: dict[str, float] = {}
    for image, end in zip(images, shared_ends(images, pace, room), strict=True):
        name = image.request.id
        steps[name] = max(steps.get(name, 0), image.steps_left)
        work[name] = work.get(name, 0.0) + _alone_s(image, pace)
        ends[name] = max(ends.get(name, 0.0), end)

    def fits(names: Sequence[str]) -> bool:
        chosen = frozenset(names)
        alone = [image for image in images if image.request.id in chosen]
        return max(shared_ends(alone, pace, room)) <= left + _ROUNDING_S

    # The order in which images finish while all share is never worse than sharing. The other two
    # orders are better if a step takes longer the more rows it has.
    best: Sequence[str] = ()
    for key in (ends, steps, work):
        names = sorted(steps, key=lambda name, by=key: (by[name], ends[name]))  # type: ignore[misc]
        best = max(best, names[: _longest(names, fits)], key=len)
    return frozenset(best)


def _alone_s(image: Image, pace: Pace) -> float:
    spec = image.spec
    return image.steps_left * pace.step_s(image.shape, spec.rows) + pace.decode_s(spec.size)


def shared_ends(images: Sequence[Image], pace: Pace, room: Room) -> list[float]:
    """When each image finishes if all share the steps, in seconds from now.

    Args:
        images: those that have rows first, the others in the order in which they get rows.
        pace: the measured times.
        room: what images in flight share. That some images were passed before counts for nothing
            here, so of images with LoRAs the forecast may be late.
    """
    ends = [0.0] * len(images)
    sharing = _Sharing(images, room)
    now = 0.0
    while running := sharing.admitted():
        # Until an image is done, nothing changes from one round of all shapes to the next.
        rounds = max(min(each.turns_left for each in running.values()) - 1, 0)
        if rounds:
            now += rounds * sum(pace.step_s(shape, each.rows) for shape, each in running.items())
            for each in running.values():
                each.turn += rounds
        shape, stepped = sharing.next_turn()
        if stepped.turns_left > 0:
            now += pace.step_s(shape, stepped.rows)
            stepped.turn += 1
        for place in stepped.done():
            now += pace.decode_s(shape.size)
            ends[place] = now
    return ends


class _Turns:
    """Simulates the images of one shape that have rows."""

    def __init__(self) -> None:
        self.turn = 0  # how many steps the shape has made
        self.rows = 0
        self._images: list[tuple[int, int, int]] = []  # last turn, place, rows

    @property
    def turns_left(self) -> int:
        """How many steps until the image that finishes next has made its last."""
        return self._images[0][0] - self.turn

    def add(self, place: int, image: Image) -> None:
        """Give an image its rows."""
        rows = image.spec.rows
        heapq.heappush(self._images, (self.turn + image.steps_left, place, rows))
        self.rows += rows

    def done(self) -> Iterator[int]:
        """Remove the images that have made their last step, and yield their places."""
        while self._images and self._images[0][0] <= self.turn:
            _, place, rows = heapq.heappop(self._images)
            self.rows -= rows
            yield place


class _Sharing:
    """Simulates the step scheduler: shapes take turns, images of one size share its rows."""

    def __init__(self, images: Sequence[Image], room: Room) -> None:
        self._room = room
        self._running: dict[StepShape, _Turns] = {}  # the next one to step comes first
        self._waiting: dict[Image, int] = {}  # their places, in order of arrival
        self._passed: dict[Image, int] = {}
        for place, image in enumerate(images):
            if image.state == "waiting":
                self._waiting[image] = place
            else:
                self._start(place, image)
        self._sizes = Counter(image.shape.size for image in self._waiting)

    def admitted(self) -> dict[StepShape, _Turns]:
        """Give free rows to waiting images; returns the shapes that have images with rows."""
        self._running = {shape: each for shape, each in self._running.items() if each.rows}
        if self._waiting:
            use = Use()
            for shape, each in self._running.items():
                use.rows[shape.size] = use.rows.get(shape.size, 0) + each.rows
                if shape.adapters:
                    use.sets.add(shape.adapters)
            for image in admissible(self._waiting, self._sizes, use, self._room, self._passed):
                self._start(self._waiting.pop(image), image)
                self._sizes[image.shape.size] -= 1
                if not self._sizes[image.shape.size]:
                    del self._sizes[image.shape.size]
        return self._running

    def next_turn(self) -> tuple[StepShape, _Turns]:
        """The shape that steps next; its following turn comes last."""
        shape = next(iter(self._running))
        self._running[shape] = turns = self._running.pop(shape)
        return shape, turns

    def _start(self, place: int, image: Image) -> None:
        self._running.setdefault(image.shape, _Turns()).add(place, image)


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
