"""What the loop knows of the requests in its hands."""

from dataclasses import dataclass

from easel_worker.engine import Job, Lane
from easel_worker.protocol import Generate, Timings
from easel_worker.scheduler import Ticket


@dataclass
class Flight:
    """One image from its arrival to its result. Times are monotonic seconds."""

    ticket: Ticket
    job: Job
    request: Generate
    arrived: float
    encode_from: float = 0.0
    denoise_from: float = 0.0
    decode_from: float = 0.0
    lane: Lane | None = None

    @property
    def started(self) -> Lane:
        """The lane, which is there once the image is encoded."""
        if self.lane is None:
            raise RuntimeError(f"image {self.ticket} is stepped before it is encoded")
        return self.lane

    def timings(self, now: float) -> Timings:
        """Where the time went until `now`, when the image is done."""
        return Timings(
            queue_ms=_ms(self.encode_from - self.arrived),
            encode_ms=_ms(self.denoise_from - self.encode_from),
            denoise_ms=_ms(self.decode_from - self.denoise_from),
            decode_ms=_ms(now - self.decode_from),
        )


class Flights:
    """The images of all requests that have not ended."""

    def __init__(self) -> None:
        self._requests: dict[str, dict[int, Flight]] = {}

    def __contains__(self, request: str) -> bool:
        return request in self._requests

    def __len__(self) -> int:
        return sum(len(images) for images in self._requests.values())

    def ids(self) -> list[str]:
        """The requests, oldest first."""
        return list(self._requests)

    def add(self, flights: list[Flight]) -> None:
        """Take in all images of a new request."""
        self._requests[flights[0].ticket.request] = {f.ticket.image: f for f in flights}

    def get(self, ticket: Ticket) -> Flight | None:
        """The image, or None if its request has ended."""
        return self._requests.get(ticket.request, {}).get(ticket.image)

    def land(self, flight: Flight) -> bool:
        """The image's result is sent. Answers whether it was the request's last one."""
        images = self._requests[flight.ticket.request]
        del images[flight.ticket.image]
        if not images:
            del self._requests[flight.ticket.request]
        return not images

    def drop(self, request: str) -> Generate | None:
        """The request has ended some other way. Answers it, or None if it had ended before."""
        images = self._requests.pop(request, None)
        return None if images is None else next(iter(images.values())).request


def _ms(seconds: float) -> float:
    return round(max(seconds, 0.0) * 1000, 3)
