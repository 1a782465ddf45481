"""Batched images: random traffic through the loop and a real engine, compared with single images.

A seed determines a schedule: requests of any steps, scheduler, guidance, size and number of images;
when each arrives; which are cancelled, expire, or are replayed because the session is lost. An
image must always have the same bytes as when it is made alone.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from msgspec import UNSET

from easel_worker.engine import Engine, ImageSpec, Lane, Pixels, Tokens
from easel_worker.mailbox import Lost
from easel_worker.protocol import Bye, Cancel, Generate, Result
from easel_worker.values import Size
from tests.support.samples import spec_of
from tests.support.stage import Cue, Stage

STEP_S = 0.1
"""The stage's time per step."""


@dataclass(frozen=True)
class LostWith(Lost):
    """The session is lost while the requests with these ids are in flight."""

    work: tuple[str, ...]


Happening = Generate | Cancel | LostWith


@dataclass(frozen=True)
class Repertoire:
    """The values of a schedule's requests. Few seeds, so that each single image is made once."""

    prompts: Sequence[Tokens]
    sizes: Sequence[Size]
    schedulers: Sequence[str]
    steps: Sequence[int] = (1, 2, 3, 4)
    guidances: Sequence[float] = (0.0, 1.0, 1.5, 7.0)
    seeds: Sequence[int] = (0, 7, 2**32 - 1)
    savings: Sequence[dict[str, Any]] = ({},)
    """Request fields that make the engine skip operations."""
    kinds: int = 60
    """The number of kinds of requests: combinations of all fields but the seeds."""

    def kinds_of_requests(self) -> list[dict[str, Any]]:
        """The kinds, the same at every call."""
        rng = random.Random(self.kinds)
        return [self._kind(rng) for _ in range(self.kinds)]

    def _kind(self, rng: random.Random) -> dict[str, Any]:
        width, height = rng.choice(self.sizes)
        negative = rng.choice([None, *self.prompts])
        return {
            "prompt": rng.choice(self.prompts),
            "negative": negative,
            "steps": rng.choice(self.steps),
            "guidance": rng.choice(self.guidances),
            "scheduler": rng.choice(self.schedulers),
            "width": width,
            "height": height,
            "clip_skip": rng.choice([0, 0, 1]),
            "preview_every": rng.choice([0, 0, 1]),
            **self._saved(rng),
        }

    def _saved(self, rng: random.Random) -> dict[str, Any]:
        return rng.choice(self.savings) if len(self.savings) > 1 else self.savings[0]


@dataclass
class Tally:
    """Counts of what happened in the schedules."""

    schedules: int = 0
    images: int = 0
    cut_short: int = 0
    values: int = 0
    different: int = 0
    largest: int = 0
    wrong: list[str] = field(default_factory=list)


class Company:
    """Plays schedules and compares each image with the one that is made alone."""

    def __init__(
        self,
        engine: Engine,
        repertoire: Repertoire,
        alone: Engine | None = None,
        tolerance: int = 0,
    ) -> None:
        """Prepare to play.

        Args:
            engine: makes the images.
            repertoire: the values of the requests.
            alone: makes the images to compare with; the same engine by default.
            tolerance: the largest acceptable difference of a pixel's value.
        """
        self._engine = engine
        self._alone = alone or engine
        self._repertoire = repertoire
        self._tolerance = tolerance
        self._kinds = repertoire.kinds_of_requests()
        self._known: dict[ImageSpec, Pixels] = {}
        self.tally = Tally()

    def play(self, seed: int) -> None:
        """Play the schedule of a seed, and count what happens in `tally`."""
        rng = random.Random(seed)
        stage = Stage(self._engine)
        stage.engine = _Ticking(self._engine, stage)
        first, *others = self._arrivals(rng)
        disturbances = list(_disturbances(rng, [first, *others]))
        happenings = [*others, *disturbances]
        for after, event in happenings:
            stage.on(_once(stage, after), event)
        stage.play(first[1])
        self.tally.schedules += 1
        over = next(at for at, message in enumerate(stage.sent) if isinstance(message, Bye))
        happened = [first[1], *(event for after, event in happenings if after <= over)]
        self._check(stage, happened, where=f"schedule {seed}")

    def _arrivals(self, rng: random.Random) -> list[tuple[int, Generate]]:
        """Requests, each with the number of messages after which it arrives; the first at once."""
        arrivals = []
        for number in range(rng.randint(2, 9)):
            seeds = tuple(rng.sample(self._repertoire.seeds, rng.randint(1, 2)))
            patience = rng.choice([UNSET, UNSET, UNSET, rng.uniform(50.0, 1500.0)])
            kind = rng.choice(self._kinds)
            request = Generate(id=f"r{number}", seeds=seeds, timeout_ms=patience, **kind)
            arrivals.append((rng.randint(0, 25) if number else 0, request))
        return arrivals

    def _check(self, stage: Stage, happened: Sequence[Happening], where: str) -> None:
        cancelled = {event.id for event in happened if isinstance(event, Cancel)}
        lost = {name for event in happened if isinstance(event, LostWith) for name in event.work}
        for request in (event for event in happened if isinstance(event, Generate)):
            failure, results = stage.failure(request.id), stage.results(request.id)
            allowed = {
                "cancelled": request.id in cancelled,
                "expired": request.timeout_ms is not UNSET,
                None: len(results) == len(request.seeds) or request.id in lost,
            }
            if not allowed.get(failure, False):
                self.tally.wrong.append(f"{where}: {request.id} ended with {failure}")
            self.tally.cut_short += len(results) < len(request.seeds)
            for result in results:
                self._compare(result, spec_of(request, result.seed), where)

    def _compare(self, result: Result, spec: ImageSpec, where: str) -> None:
        expected, tally = self._image_of(spec), self.tally
        ours = np.frombuffer(result.pixels, np.uint8).reshape(expected.shape)
        difference = np.abs(ours.astype(int) - expected)
        tally.images += 1
        tally.values += difference.size
        tally.different += int(np.count_nonzero(difference))
        tally.largest = max(tally.largest, int(difference.max()))
        if difference.max() > self._tolerance:
            tally.wrong.append(
                f"{where}: {result.id}, image {result.image}, differs from the image made alone"
            )

    def _image_of(self, spec: ImageSpec) -> Pixels:
        if spec not in self._known:
            lane = self._alone.start(spec)
            while lane.step < spec.steps:
                self._alone.step([lane])
            self._known[spec] = (
                self._alone.finish(lane)
                if spec.output_type is UNSET
                else self._alone.latents(lane).view(np.uint8)
            )
        return self._known[spec]


def _once(stage: Stage, after: int) -> Cue:
    """Return a cue that `after` messages were sent."""
    return lambda _: len(stage.sent) >= after


def _disturbances(
    rng: random.Random, arrivals: Sequence[tuple[int, Generate]]
) -> Iterator[tuple[int, Happening]]:
    """Cancel some requests; in some schedules lose the session and replay all requests."""
    for after, request in arrivals:
        if rng.random() < 0.25:
            yield after + rng.randint(0, 20), Cancel(request.id)
    if rng.random() < 0.3:
        at = rng.randint(1, 25)
        work = [request for after, request in arrivals if after <= at]
        yield at, LostWith("test", tuple(request.id for request in work))
        for request in work:
            yield at, replace(request, id=f"{request.id}-again")


class _Ticking:
    """An engine whose steps advance the stage's clock."""

    def __init__(self, inner: Engine, stage: Stage) -> None:
        self._inner = inner
        self._stage = stage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def step(self, lanes: Sequence[Lane]) -> None:
        """Step, and advance the clock."""
        self._inner.step(lanes)
        self._stage.now += STEP_S
