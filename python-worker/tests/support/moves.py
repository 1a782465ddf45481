"""Random traffic through workers that leave: their images move to the next one, and go on there.

Plays the gateway's part: what a leaving worker gives back is sent to the next one with the states.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from msgspec import UNSET

from easel_worker.engine import Engine, ImageSpec, Lane, Pixels
from easel_worker.mailbox import Leave
from easel_worker.protocol import Failed, Generate, Result
from tests.support.company import Repertoire
from tests.support.samples import spec_of
from tests.support.stage import Stage

MOST = 16 << 20


class Pair(NamedTuple):
    """Two engines of one kind, and one that makes images alone."""

    first: Any
    second: Any
    alone: Any = None


@dataclass
class Moves:
    """Counts of what happened.

    Attributes:
        moves: images that went on from a state.
        steps_again: evaluations of the UNet that were done more than once.
    """

    images: int = 0
    moves: int = 0
    steps_again: int = 0
    wrong: list[str] = field(default_factory=list)


class _Counting:
    """Counts the evaluations of all lanes."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self.evaluations = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def step(self, lanes: Sequence[Lane]) -> None:
        """Step, and count."""
        self.evaluations += len(lanes)
        self._inner.step(lanes)


def play_moves(engines: Pair, repertoire: Repertoire, seeds: range, *, most: int = MOST) -> Moves:
    """Play a schedule for each seed.

    Args:
        engines: which take turns; the images to compare with are made by the third or the first.
        repertoire: the values of the requests.
        seeds: of the schedules.
        most: the largest state that the gateway takes.
    """
    kinds = repertoire.kinds_of_requests()
    alone, tally = engines.alone or engines.first, Moves()
    known: dict[ImageSpec, tuple[Pixels, int]] = {}

    def image_of(spec: ImageSpec) -> tuple[Pixels, int]:
        if spec not in known:
            lane = alone.start(spec)
            while lane.evaluation < lane.evaluations:
                alone.step([lane])
            latents = spec.output_type is not UNSET
            made = alone.latents(lane).view(np.uint8) if latents else alone.finish(lane)
            known[spec] = made, lane.evaluations
        return known[spec]

    for seed in seeds:
        rng = random.Random(seed)
        requests = list(_requests(rng, repertoire, kinds, most))
        counting = [_Counting(engine) for engine in engines[:2]]
        results = _play(rng, counting, requests, tally)
        wanted = 0
        for request in requests:
            for image_seed in request.seeds:
                spec = spec_of(request, image_seed)
                pixels, evaluations = image_of(spec)
                wanted += evaluations
                made = results.get((request.id, image_seed))
                tally.images += 1
                if made is None or bytes(made.pixels) != pixels.tobytes():
                    tally.wrong.append(f"schedule {seed}: {request.id}, seed {image_seed}: {spec}")
        tally.steps_again += sum(each.evaluations for each in counting) - wanted
    return tally


def _requests(
    rng: random.Random, repertoire: Repertoire, kinds: Sequence[dict[str, Any]], most: int
) -> Iterator[Generate]:
    for number in range(rng.randint(1, 4)):
        chosen = tuple(rng.sample(repertoire.seeds, rng.randint(1, 2)))
        kind = rng.choice(kinds)
        yield Generate(id=f"r{number}", seeds=chosen, max_state_bytes=most, **kind)


def _play(
    rng: random.Random, engines: Sequence[Any], requests: Sequence[Generate], tally: Moves
) -> dict[tuple[str, int], Result]:
    """Play until all images are there; the results by request and seed."""
    results: dict[tuple[str, int], Result] = {}
    left = list(requests)
    for turn in range(1000):
        stage = Stage(engines[turn % 2])
        leaving = rng.randint(1, 25)
        stage.on(lambda _, s=stage, n=leaving: len(s.sent) >= n, Leave(0.0, "moves"))  # type: ignore[misc]
        stage.play(*left)
        again: list[Generate] = []
        for request in left:
            name = request.id.split("/")[0]
            for result in stage.results(request.id):
                results[name, result.seed] = result
            match stage.about(request.id)[-1]:
                case Failed(code="draining") as failed:
                    again.append(next_attempt(request, stage.results(request.id), failed))
                case Failed() as failed:
                    raise AssertionError(failed)
        left = again
        tally.moves += sum(len(one.states) for one in left if one.states is not UNSET)
        if not left:
            return results
    raise AssertionError("the images never end")


def next_attempt(request: Generate, made: Sequence[Result], failed: Failed) -> Generate:
    """What the gateway sends to the next worker: the images that are missing, with the states."""
    missing = [i for i in range(len(request.seeds)) if i not in {r.image for r in made}]
    kept: dict[int, tuple[Any, memoryview]] = {}
    for source in (request, failed):
        frames = source.state_frames if isinstance(source, Generate) else source.frames
        if source.states is not UNSET:
            for form, frame in zip(source.states, frames, strict=True):
                kept[form.image] = form, frame
    states = [
        (replace(kept[image][0], image=place, used=UNSET), kept[image][1])
        for place, image in enumerate(missing)
        if image in kept
    ]
    name, _, number = request.id.partition("/")
    return replace(
        request,
        id=f"{name}/{int(number or 0) + 1}",
        seeds=tuple(request.seeds[image] for image in missing),
        states=tuple(form for form, _ in states) or UNSET,
        frames=(*request.picture_frames, *(frame for _, frame in states)),
    )
