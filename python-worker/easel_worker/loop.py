"""The life of a request in the worker.

1. GENERATE arrives in the mailbox; a request that does not fit is answered `invalid`.
2. Its images wait in the step scheduler until there are rows.
3. At a step boundary they get rows and are encoded, one after the other.
4. They share steps with whatever else runs, one PROGRESS a step.
5. Done images are decoded, one after the other, and sent as RESULT; then their rows are free.

Between any two of the engine's calls the mailbox is read: a request that was cancelled, expired, or has
lost its gateway leaves before the next call.
"""

import time
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from easel_worker.drain import Departure, Pace
from easel_worker.engine import Engine, InvalidJob, Lane, Pixels
from easel_worker.failures import failure_code, failure_text
from easel_worker.flights import Flight, Flights
from easel_worker.jobs import jobs
from easel_worker.logs import Logger
from easel_worker.mailbox import Broken, Event, Leave, Lost, Mailbox, Received, TurnedAway
from easel_worker.protocol import (
    Bye,
    Cancel,
    Failed,
    FailureCode,
    FromWorker,
    Generate,
    Memory,
    PreviewSize,
    Progress,
    Result,
    Stage,
)
from easel_worker.scheduler import Scheduler, Ticket
from easel_worker.vitals import Vitals

MAX_QUEUED_IMAGES = 4096
MEMORY_EVERY_S = 1.0


class ExitStatus(IntEnum):
    """Why the process ended. (2 is a usage error.)"""

    DRAINED = 0
    FAILED = 1
    REFUSED = 3
    OUT_OF_MEMORY = 4


class Link(Protocol):
    """The way to the gateway."""

    def send(self, message: FromWorker) -> None:
        """Send, or drop if the session is over."""

    def resume(self) -> None:
        """What belonged to the lost session is dropped."""


class Loop:
    """Runs the engine; uses it from the thread that calls `run` only."""

    def __init__(
        self,
        engine: Engine,
        link: Link,
        mailbox: Mailbox,
        vitals: Vitals,
        log: Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._capabilities = engine.capabilities
        self._link = link
        self._mailbox = mailbox
        self._vitals = vitals
        self._log = log
        self._clock = clock
        self._scheduler = Scheduler(self._capabilities.rows)
        self._flights = Flights()
        self._pace = Pace()
        self._departure: Departure | None = None
        self._status: ExitStatus | None = None
        self._memory_due = 0.0

    def run(self) -> ExitStatus:
        """Serve until the worker is to leave; answers the process's exit status."""
        while self._status is None:
            self._attend(wait=not self._scheduler.busy and self._departure is None)
            if self._status is None:
                self._encode_admitted()
                self._step()
        return self._status

    # Events

    def _attend(self, *, wait: bool = False) -> None:
        """Handle what arrived and what time has made due; ends all that nobody waits for."""
        self._publish()
        for event in self._mailbox.take(None if wait else 0):
            self._handle(event)
        for request in self._scheduler.expire(self._clock()):
            self._fail(request, "expired", "the time for the request is over")
        if self._departure is not None:
            self._leave(self._departure)

    def _handle(self, event: Event) -> None:
        match event:
            case Received(Generate() as request, at):
                self._accept(request, at)
            case Received(Cancel() as cancel):
                self._fail(cancel.id, "cancelled", "cancelled by the gateway")
            case Lost():
                for request in self._flights.ids():
                    self._forget(request)
                self._link.resume()
            case Leave():
                at = self._clock() + event.grace_s
                if self._departure is None or at < self._departure.at:
                    self._departure = Departure(at, event.reason)
                    self._log.info("draining", reason=event.reason, grace_s=event.grace_s)
            case TurnedAway():
                self._log.error(
                    f"the gateway refused this worker: {event.message}", code=event.code
                )
                self._status = ExitStatus.REFUSED
            case Broken():
                self._log.error("the transport broke", err=event.error)
                self._status = ExitStatus.FAILED

    def _accept(self, request: Generate, at: float) -> None:
        if request.id in self._flights:
            self._log.warn("ignored a request whose id is in use", id=request.id)
            return
        if self._departure is not None:
            self._refuse(request, "draining", self._departure.reason)
            return
        if len(self._flights) + len(request.seeds) > MAX_QUEUED_IMAGES:
            self._refuse(request, "internal", f"more than {MAX_QUEUED_IMAGES} images are waiting")
            return
        try:
            todo = jobs(request, self._capabilities)
        except InvalidJob as error:
            self._refuse(request, "invalid", str(error))
            return
        flights = [
            Flight(
                Ticket(request.id, i, (job.width, job.height), job.rows, job.steps),
                job,
                request,
                at,
            )
            for i, job in enumerate(todo)
        ]
        self._flights.add(flights)
        tickets = [flight.ticket for flight in flights]
        if request.timeout_ms is None:
            self._scheduler.add(tickets)
        else:
            self._scheduler.add(tickets, at + request.timeout_ms / 1000)

    def _leave(self, departure: Departure) -> None:
        """Give up what no longer fits; go when nothing is left."""
        remaining = self._scheduler.remaining()
        for request in departure.too_late(remaining, self._pace, self._clock()):
            self._fail(request, "draining", departure.reason)
        if not self._scheduler.busy and self._status is None:
            self._link.send(Bye(departure.reason))
            self._status = ExitStatus.DRAINED

    # Stages

    def _encode_admitted(self) -> None:
        for ticket in self._scheduler.admit():
            self._attend()
            if (flight := self._flights.get(ticket)) is not None:
                self._encode(flight)

    def _encode(self, flight: Flight) -> None:
        flight.encode_from = self._clock()
        self._progress(flight, "encoding", 0)
        try:
            flight.lane = self._engine.start(flight.job)
        except Exception as error:  # noqa: BLE001 - the engine may raise anything
            self._fail_by(flight, error)
        flight.denoise_from = self._clock()

    def _step(self) -> None:
        """One denoising step, and the decoding of the images that it completed."""
        step = self._scheduler.next_step()
        flights = [flight for ticket in step if (flight := self._flights.get(ticket)) is not None]
        if not flights:
            return
        for flight in self._advance(flights):
            self._denoised(flight)
        for ticket in self._scheduler.stepped(step):
            self._attend()
            if (done := self._flights.get(ticket)) is not None:
                self._decode(done)

    def _advance(self, flights: list[Flight]) -> list[Flight]:
        """Step the images together; answers those that advanced."""
        before = [flight.started.step for flight in flights]
        try:
            self._timed_step([flight.started for flight in flights])
        except Exception as error:  # noqa: BLE001 - the engine may raise anything
            if len(flights) == 1:
                self._fail_by(flights[0], error)
                return []
            self._log.warn("a joint step failed; its images go on one by one", err=error)
            return self._advance_alone(flights, before)
        return flights

    def _advance_alone(self, flights: list[Flight], before: list[int]) -> list[Flight]:
        """After a joint step failed: step each image by itself, so that only the guilty ones fail."""
        advanced = []
        for flight, step in zip(flights, before, strict=True):
            try:
                if flight.started.step == step:
                    self._timed_step([flight.started])
                advanced.append(flight)
            except Exception as error:  # noqa: BLE001 - the engine may raise anything
                self._fail_by(flight, error)
        return advanced

    def _timed_step(self, lanes: list[Lane]) -> None:
        start = self._clock()
        self._engine.step(lanes)
        seconds = self._clock() - start
        self._vitals.stepped(seconds * 1000)
        self._pace.stepped((lanes[0].job.width, lanes[0].job.height), seconds)

    def _denoised(self, flight: Flight) -> None:
        step, of, every = flight.started.step, flight.job.steps, flight.request.preview_every
        preview = None
        if every and step % every == 0 and step < of:
            try:
                preview = self._engine.preview(flight.started)
            except Exception as error:  # noqa: BLE001 - the engine may raise anything
                self._fail_by(flight, error)
                return
        self._progress(flight, "denoising", step, preview)

    def _decode(self, flight: Flight) -> None:
        flight.decode_from = self._clock()
        self._progress(flight, "decoding", flight.job.steps)
        try:
            pixels = self._engine.finish(flight.started)
        except Exception as error:  # noqa: BLE001 - the engine may raise anything
            self._fail_by(flight, error)
            return
        now = self._clock()
        self._pace.decoded(flight.ticket.size, now - flight.decode_from)
        self._attend()
        if self._flights.get(flight.ticket) is not None:
            self._deliver(flight, pixels, now)

    def _deliver(self, flight: Flight, pixels: Pixels, now: float) -> None:
        self._scheduler.finished(flight.ticket)
        self._flights.land(flight)
        job, ticket = flight.job, flight.ticket
        self._link.send(
            Result(
                id=ticket.request,
                image=ticket.image,
                seed=job.seed,
                width=job.width,
                height=job.height,
                timings=flight.timings(now),
                pixels=memoryview(pixels).cast("B"),
            )
        )

    # Ends

    def _fail_by(self, flight: Flight, error: Exception) -> None:
        code, request = failure_code(error), flight.request
        if code == "invalid":
            self._log.info("invalid request", id=request.id, trace=request.trace, reason=str(error))
        else:
            self._log.error("the engine failed", id=request.id, trace=request.trace, err=error)
        self._fail(request.id, code, failure_text(error))

    def _fail(self, request: str, code: FailureCode, message: str) -> None:
        """End a request, unless it has ended already: then nobody waits for an answer."""
        if self._forget(request):
            self._link.send(Failed(request, code, message))

    def _forget(self, request: str) -> bool:
        self._scheduler.cancel(request)
        return self._flights.drop(request) is not None

    def _refuse(self, request: Generate, code: FailureCode, message: str) -> None:
        self._log.info("refused a request", id=request.id, trace=request.trace, code=code)
        self._link.send(Failed(request.id, code, message))

    # Reports

    def _progress(
        self, flight: Flight, stage: Stage, step: int, preview: Pixels | None = None
    ) -> None:
        ticket, size, pixels = flight.ticket, None, None
        if preview is not None:
            height, width, _ = preview.shape
            size, pixels = PreviewSize(width, height), memoryview(preview).cast("B")
        of = flight.job.steps
        self._link.send(Progress(ticket.request, ticket.image, stage, step, of, size, pixels))

    def _publish(self) -> None:
        self._vitals.load(
            rows_in_use=self._scheduler.rows_in_use,
            queued=self._scheduler.queued,
            rows_padded_total=self._engine.rows_padded(),
        )
        if self._clock() >= self._memory_due:
            self._memory_due = self._clock() + MEMORY_EVERY_S
            devices = self._engine.memory()
            self._vitals.memory(Memory(d.device, d.bytes_in_use, d.bytes_limit) for d in devices)
