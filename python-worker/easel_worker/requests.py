"""The requests in the worker's hands, from acceptance to their one end."""

from typing import Protocol

from easel_worker.engine import Engine, InvalidRequest, NotFinite
from easel_worker.failures import failure_code, failure_text
from easel_worker.flight import Flight
from easel_worker.logs import Logger
from easel_worker.protocol import Failed, FailureCode, FromWorker, Generate, Result
from easel_worker.specs import specs
from easel_worker.step_scheduler import StepScheduler, Ticket
from easel_worker.vitals import Vitals

MAX_IMAGES = 4096
"""The gateway admits; this only keeps a broken one from filling the memory."""


class Link(Protocol):
    """The way to the gateway."""

    def send(self, message: FromWorker) -> None:
        """Send, or drop if the session is over."""

    def resume(self) -> None:
        """What belonged to the lost session is dropped."""


class Requests:
    """Keeps the scheduler in step: an image is here exactly as long as it is there."""

    def __init__(
        self, scheduler: StepScheduler, link: Link, engine: Engine, vitals: Vitals, log: Logger
    ) -> None:
        self._scheduler = scheduler
        self._link = link
        self._engine = engine
        self._vitals = vitals
        self._log = log
        self._flights: dict[str, dict[int, Flight]] = {}
        self.failures_in_a_row = 0

    def accept(self, request: Generate, arrived: float) -> None:
        """Queue the request's images, or answer why not."""
        if request.id in self._flights:
            self._log.warn("ignored a request whose id is in use", id=request.id)
            return
        if sum(map(len, self._flights.values())) + len(request.seeds) > MAX_IMAGES:
            self.refuse(request, "internal", f"{MAX_IMAGES} images are waiting: admit fewer")
            return
        try:
            todo = specs(request, self._engine.capabilities)
        except InvalidRequest as error:
            self.refuse(request, "invalid", str(error))
            return
        flights = [Flight.of(request, image, spec, arrived) for image, spec in enumerate(todo)]
        self._flights[request.id] = {flight.ticket.image: flight for flight in flights}
        self._scheduler.add([flight.ticket for flight in flights], flights[0].deadline)

    def refuse(self, request: Generate, code: FailureCode, message: str) -> None:
        """Answer a request that was never accepted."""
        self._link.send(Failed(request.id, code, message))
        self._log.info("refused a request", **_names(request), code=code)

    def flight(self, ticket: Ticket) -> Flight | None:
        """The image, or None if its request has ended."""
        return self._flights.get(ticket.request, {}).get(ticket.image)

    def land(self, flight: Flight, result: Result) -> None:
        """Send an image; with its last one the request ends well."""
        self.failures_in_a_row = 0
        self._scheduler.finished(flight.ticket)
        images = self._flights[flight.ticket.request]
        del images[flight.ticket.image]
        if not images:
            del self._flights[flight.ticket.request]
        self._link.send(result)

    def fail(self, request: str, code: FailureCode, message: str) -> None:
        """End a request with FAILED, unless it has ended already: then nobody waits for it."""
        if self._forget(request):
            self._link.send(Failed(request, code, message))

    def blame(self, flight: Flight, error: Exception) -> None:
        """End the request of an image whose work raised `error`."""
        request, code = flight.request, failure_code(error)
        self.failures_in_a_row += code != "invalid"
        self.fail(request.id, code, failure_text(error))
        if isinstance(error, NotFinite):
            self._vitals.not_finite(error.stage)
            self._log.error(
                f"an image failed: {error}",
                **_names(request),
                image=flight.ticket.image,
                stage=error.stage,
            )
        elif code == "invalid":
            self._log.info("invalid request", **_names(request), reason=str(error))
        else:
            self._log.error("the engine failed", **_names(request), err=error)

    def forget_all(self) -> None:
        """Nobody waits for anything any more."""
        for request in list(self._flights):
            self._forget(request)

    def _forget(self, request: str) -> bool:
        """Answers whether there was such a request."""
        self._scheduler.cancel(request)
        return self._flights.pop(request, None) is not None


def _names(request: Generate) -> dict[str, object]:
    """What a log line calls a request."""
    return {"id": request.id, "trace": request.trace or None}
