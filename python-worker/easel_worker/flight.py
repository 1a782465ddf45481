"""One image on its way through the worker."""

import math
from dataclasses import dataclass

from msgspec import UNSET

from easel_worker.engine import ImageSpec, Lane
from easel_worker.protocol import Generate, Timings
from easel_worker.step_scheduler import Ticket


@dataclass
class Flight:
    """One image from its arrival to its result. Times are monotonic seconds."""

    ticket: Ticket
    spec: ImageSpec
    request: Generate
    arrived: float
    encode_from: float = 0.0
    denoise_from: float = 0.0
    decode_from: float = 0.0
    lane: Lane | None = None

    @classmethod
    def of(cls, request: Generate, image: int, spec: ImageSpec, arrived: float) -> "Flight":
        """The image number `image` of a request."""
        ticket = Ticket(request.id, image, (spec.width, spec.height), spec.rows, spec.steps)
        return cls(ticket, spec, request, arrived)

    @property
    def deadline(self) -> float:
        """When the request expires; infinite if it does not."""
        timeout_ms = self.request.timeout_ms
        return math.inf if timeout_ms is UNSET else self.arrived + timeout_ms / 1000

    @property
    def started(self) -> Lane:
        """The lane, which is there once the image is encoded."""
        if self.lane is None:
            raise RuntimeError(f"image {self.ticket} is used before it is encoded")
        return self.lane

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
