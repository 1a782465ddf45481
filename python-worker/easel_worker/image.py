"""One picture of a request, from its arrival to its end."""

import math
from dataclasses import dataclass, field
from typing import Literal

from msgspec import UNSET

from easel_worker.engine import ImageSpec, Lane
from easel_worker.protocol import Generate, Timings

State = Literal["waiting", "running", "decoding", "ended"]
"""Has no rows yet; has rows and steps left; has rows but no step left; is finished or given up."""


@dataclass(eq=False)
class Image:
    """Image number `index` of a request. Times are monotonic seconds.

    Attributes:
        state: set by the step scheduler alone, as is `steps_left`.
        lane: its arrays on the device; there from its encoding to its end.
    """

    request: Generate
    index: int
    spec: ImageSpec
    arrived: float
    state: State = "waiting"
    steps_left: int = field(init=False)
    lane: Lane = field(init=False, repr=False)
    encode_from: float = 0.0
    denoise_from: float = 0.0
    decode_from: float = 0.0

    def __post_init__(self) -> None:
        self.steps_left = self.spec.steps

    def end(self) -> None:
        """Let go of the lane, whoever still holds the image."""
        self.state = "ended"
        vars(self).pop("lane", None)

    @property
    def ended(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.state == "ended"

    @property
    def deadline(self) -> float:
        """When the request expires; infinite if it does not."""
        timeout_ms = self.request.timeout_ms
        return math.inf if timeout_ms is UNSET else self.arrived + timeout_ms / 1000

    def timings(self, now: float) -> Timings:
        """Where the time went until `now`, when the image is done. The parts are the whole."""
        return Timings(
            queue_ms=_ms(self.encode_from - self.arrived),
            encode_ms=_ms(self.denoise_from - self.encode_from),
            denoise_ms=_ms(self.decode_from - self.denoise_from),
            decode_ms=_ms(now - self.decode_from),
        )


def _ms(seconds: float) -> float:
    return round(max(seconds, 0.0) * 1000, 3)
