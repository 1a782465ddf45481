"""One image of a request, from its arrival to its end."""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal

from msgspec import UNSET

from easel_worker.engine import ImageSpec, Lane, LaneState, StepShape
from easel_worker.protocol import Generate, Tenant, Timings

State = Literal["waiting", "preparing", "running", "decoding", "ended"]
"""Waiting: no rows yet. Preparing: has rows, and its LoRAs are being merged. Running: has rows and
steps left. Decoding: has rows but no steps left.
Ended: finished, failed or cancelled."""


NOBODY = Tenant(id=0, weight=1.0)
"""The tenant of requests that state none."""


@dataclass(eq=False)
class Image:
    """Image number `index` of a request. Times are monotonic seconds.

    Attributes:
        shape: of its next step; the step scheduler changes it where the refiner takes over.
        state: only the step scheduler sets it.
        evaluations: how many times the UNet runs for it.
        handover: the evaluation at which the refiner takes over; None without one.
        steps_left: how many shared steps it still takes part in; only the step scheduler sets it.
        steps_done: how many of the request's steps the gateway knows to be done.
        begun: the state that it continues from; None if it starts anew.
        lane: its arrays on the device; the attribute exists from its encoding to its end.
        used: seconds that the engine has worked for it, by kind of work; only `meter` changes it.
    """

    request: Generate
    index: int
    spec: ImageSpec
    arrived: float
    evaluations: int
    begun: LaneState | None = field(default=None, repr=False)
    shape: StepShape = field(init=False)
    state: State = "waiting"
    steps_left: int = field(init=False)
    steps_done: int = 0
    handover: int | None = field(init=False, default=None)
    lane: Lane = field(init=False, repr=False)
    encode_from: float = 0.0
    denoise_from: float = 0.0
    decode_from: float = 0.0
    used: dict[str, float] = field(default_factory=lambda: defaultdict(float), repr=False)

    def __post_init__(self) -> None:
        self.shape = self.spec.shape
        done = 0 if self.begun is None else self.begun.evaluation
        self.steps_left = max(self.evaluations - done, 1)

    def begin(self, lane: Lane) -> None:
        """Take the lane of the encoded image, which knows how often the UNet runs."""
        self.lane = lane
        self.evaluations = lane.evaluations
        self.steps_left = lane.evaluations - lane.evaluation
        self.steps_done = lane.step
        self.handover = lane.handover
        self.begun = None  # its memory

    def end(self) -> None:
        """Release the lane, even if other objects still refer to the image."""
        self.state = "ended"
        vars(self).pop("lane", None)

    @property
    def ended(self) -> bool:
        """Whether it is finished, failed or cancelled."""
        return self.state == "ended"

    @property
    def tenant(self) -> Tenant:
        """Whom its request is for."""
        return NOBODY if self.request.tenant is UNSET else self.request.tenant

    @property
    def step(self) -> int:
        """How many of the request's steps are done, also before it has a lane."""
        return self.steps_done if self.begun is None else self.begun.step

    @property
    def deadline(self) -> float:
        """When the request expires; infinite if it has no timeout."""
        timeout_ms = self.request.timeout_ms
        return math.inf if timeout_ms is UNSET else self.arrived + timeout_ms / 1000

    def timings(self, now: float) -> Timings:
        """How long each stage took, for an image that is done at `now`. The parts add up."""
        return Timings(
            queue_ms=_ms(self.encode_from - self.arrived),
            encode_ms=_ms(self.denoise_from - self.encode_from),
            denoise_ms=_ms(self.decode_from - self.denoise_from),
            decode_ms=_ms(now - self.decode_from),
        )


def _ms(seconds: float) -> float:
    return round(max(seconds, 0.0) * 1000, 3)
