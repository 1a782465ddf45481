"""An engine wrapper that records when each image started, had its first step and was decoded."""

import json
import time
from collections.abc import Callable, Sequence
from typing import IO

from easel_worker.engine import (
    Capabilities,
    DeviceMemory,
    Engine,
    ImageSpec,
    Lane,
    LaneState,
    Latents,
    Merges,
    Pixels,
)


class Recorder:
    """Delegates to an engine, and writes a JSON line for each finished image.

    The line has the image's `seed`, and in milliseconds since 1970: `begun` (encoding starts),
    `stepped` (the first denoising step ends) and `made` (decoding ends).
    """

    def __init__(
        self, engine: Engine, lines: IO[str], clock: Callable[[], float] = time.time
    ) -> None:
        """Args: `lines` must be line-buffered, so that a reader sees whole lines."""
        self._engine = engine
        self._lines = lines
        self._clock = clock
        self._begun: dict[int, float] = {}
        self._stepped: dict[int, float] = {}

    def warm(self, report: Callable[[str], None]) -> None:
        """As the engine."""
        self._engine.warm(report)

    @property
    def capabilities(self) -> Capabilities:
        """As the engine."""
        return self._engine.capabilities

    @property
    def adapter_sets(self) -> int:
        """As the engine."""
        return self._engine.adapter_sets

    def prepare(self, spec: ImageSpec, ready: Callable[[], None]) -> bool:
        """As the engine."""
        return self._engine.prepare(spec, ready)

    def start(self, spec: ImageSpec) -> Lane:
        """As the engine."""
        self._begun[spec.seed] = self._now()
        return self._engine.start(spec)

    def save(self, lane: Lane, most: int) -> LaneState | None:
        """As the engine."""
        return self._engine.save(lane, most)

    def resume(self, spec: ImageSpec, state: LaneState) -> Lane:
        """As the engine."""
        self._begun[spec.seed] = self._now()
        return self._engine.resume(spec, state)

    def step(self, lanes: Sequence[Lane]) -> None:
        """As the engine."""
        self._engine.step(lanes)
        for lane in lanes:
            if lane.step == 1:
                self._stepped[lane.spec.seed] = self._now()

    def finish(self, lane: Lane) -> Pixels:
        """As the engine."""
        pixels = self._engine.finish(lane)
        self._record(lane.spec.seed)
        return pixels

    def latents(self, lane: Lane) -> Latents:
        """As the engine."""
        latents = self._engine.latents(lane)
        self._record(lane.spec.seed)
        return latents

    def _record(self, seed: int) -> None:
        begun, stepped = self._begun.pop(seed), self._stepped.pop(seed)
        line = {"seed": seed, "begun": begun, "stepped": stepped, "made": self._now()}
        self._lines.write(json.dumps(line) + "\n")

    def preview(self, lane: Lane) -> Pixels | None:
        """As the engine."""
        return self._engine.preview(lane)

    def merges(self) -> Merges | None:
        """See `Engine.merges`."""
        return self._engine.merges()

    def clock(self) -> float:
        """As the engine."""
        return self._engine.clock()

    def rows_padded(self) -> int:
        """As the engine."""
        return self._engine.rows_padded()

    def memory(self) -> tuple[DeviceMemory, ...]:
        """As the engine."""
        return self._engine.memory()

    def _now(self) -> float:
        return round(self._clock() * 1000, 3)
