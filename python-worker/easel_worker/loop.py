"""Runs requests through the engine.

1. GENERATE arrives in the mailbox. A request that does not fit fails with `invalid`.
2. Its images wait in the step scheduler for rows.
3. At a step boundary they get rows and are encoded, one after the other. An image whose LoRAs the
   engine has to merge first keeps its rows meanwhile, and the others continue.
4. They share steps with the other images that have rows. Each step sends a PROGRESS.
5. Images without steps left are decoded, one after the other, and sent as RESULT. Then their rows
   are free.

The loop reads the mailbox between any two calls of the engine: a request that was cancelled, has
expired or has lost its gateway ends before the next call.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from msgspec import UNSET

from easel_worker.admission import Room
from easel_worker.departure import Departure
from easel_worker.engine import Engine, Lane, Latents, Pixels
from easel_worker.exit_status import ExitStatus
from easel_worker.image import Image
from easel_worker.logs import Logger
from easel_worker.mailbox import (
    Broken,
    Event,
    Leave,
    Lost,
    Mailbox,
    Prepared,
    Received,
    TurnedAway,
)
from easel_worker.meter import Meter, used_by
from easel_worker.pace import Pace
from easel_worker.protocol import (
    Bye,
    Cancel,
    Generate,
    LatentsForm,
    PreviewSize,
    Progress,
    Result,
    Stage,
)
from easel_worker.requests import Link, Requests
from easel_worker.step_scheduler import StepScheduler
from easel_worker.vitals import Vitals

MEMORY_EVERY_S = 1.0
STALLED_S = 0.1
"""How long the loop waits for an event while all images with rows are being prepared: deadlines
pass meanwhile."""
MAX_FAILURES_IN_A_ROW = 8
"""After this many failed images in a row the worker exits. Invalid requests do not count. The
device or its memory is probably lost, and a new process helps."""


class Loop:
    """Runs the engine, and only from the thread that calls `run`."""

    def __init__(
        self,
        engine: Engine,
        link: Link,
        mailbox: Mailbox,
        *,
        vitals: Vitals,
        log: Logger,
        scheduler: StepScheduler | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:

        engine: an engine that is warm.
        link: sends messages to the gateway.
        mailbox: the events to handle.
        vitals: receives the counters for heartbeats.
        log: the worker's logger.
        scheduler: None for the worker's own; benchmarks pass others to compare policies.
        clock: the mailbox's clock, in seconds.
        """
        self._engine = engine
        self._link = link
        self._mailbox = mailbox
        self._vitals = vitals
        self._log = log
        self._clock = clock
        self._scheduler = scheduler or StepScheduler(engine.capabilities.rows, engine.adapter_sets)
        self._requests = Requests(self._scheduler, link, vitals, log)
        self._meter = Meter(engine, vitals, self._scheduler.took)
        self._pace = Pace()
        self._preparing: list[Image] = []
        self._departure: Departure | None = None
        self._status: ExitStatus | None = None
        self._memory_due = clock()

    def run(self) -> ExitStatus:
        """Serve until the worker has to exit; returns the process's exit status."""
        while self._status is None:
            self._attend(self._patience())
            for image in self._scheduler.admit():
                self._scheduler.prepares(image)
                self._preparing.append(image)
            # An image that continues from a state may have no steps left.
            for image in [*self._begin_prepared(), *self._step()]:
                self._decode(image)
        return self._status

    def _patience(self) -> float | None:
        """How long to wait for an event, in seconds; None for ever."""
        if self._scheduler.stalled:
            return STALLED_S
        return 0 if self._scheduler.busy or self._departure is not None else None

    def _begin_prepared(self) -> list[Image]:
        """Encode the admitted images for which the engine has everything, in order.

        Returns those that have no steps left.
        """
        done: list[Image] = []
        waiting, self._preparing = self._preparing, []
        for image in waiting:
            if image.ended:
                continue
            with self._blaming(image):
                if self._engine.prepare(image.spec, self._when_prepared):
                    self._scheduler.prepared(image)
                    self._encode(image)
                    if not image.ended and self._scheduler.began(image):
                        done.append(image)
                else:
                    self._preparing.append(image)
        return done

    def _when_prepared(self) -> None:
        self._mailbox.put(Prepared())

    # Events, between the engine's calls

    def _attend(self, patience: float | None = 0, *, done: bool = False) -> None:
        """Handle events and deadlines; ends requests that nobody waits for.

        Args:
            patience: how many seconds to wait for an event; None for ever.
            done: a finished image is still to be sent, so a departure must not drop requests now.
        """
        self._publish()
        for event in self._mailbox.take(patience):
            self._handle(event)
        for request in self._scheduler.expired(self._clock()):
            self._requests.fail(request, "expired", "the request's timeout has passed")
        if self._requests.failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            self._stop(ExitStatus.BROKEN)
            self._log.fatal("the engine keeps failing, exiting", failures=MAX_FAILURES_IN_A_ROW)
        elif self._departure is not None and not done:
            self._leave(self._departure)

    def _handle(self, event: Event) -> None:
        match event:
            case Received(message=Generate() as request):
                if self._departure is None:
                    self._requests.accept(request, event.at, self._engine.capabilities)
                else:
                    self._requests.refuse(request, "draining", self._departure.reason)
            case Received(message=Cancel() as cancel):
                self._requests.fail(cancel.id, "cancelled", "cancelled by the gateway")
            case Lost():
                self._scheduler.cancel_all()
                self._vitals.new_session()
                self._link.resume()
            case Leave():
                departure = Departure(self._clock() + event.grace_s, event.reason)
                self._departure = departure.or_sooner(self._departure)
                self._scheduler.depart()
                self._log.info("draining", reason=event.reason, grace_s=event.grace_s)
            case TurnedAway():
                self._stop(ExitStatus.REFUSED)
                self._log.fatal("refused by the gateway", code=event.code, reason=event.message)
            case Prepared():
                pass  # it only ends the wait
            case Broken():
                self._stop(ExitStatus.FAILED)
                self._log.fatal("the transport failed", err=event.error)

    def _leave(self, departure: Departure) -> None:
        """Give back requests that cannot finish in time; exit when none is left."""
        images = self._scheduler.images()
        room = Room(self._engine.capabilities.rows, self._engine.adapter_sets, fair=False)
        for request in departure.too_late(images, self._pace, self._clock(), room):
            self._requests.give_back(request, departure.reason, self._engine.save)
        if not self._scheduler.busy and self._status is None:
            self._link.send(Bye(departure.reason))
            self._stop(ExitStatus.DRAINED)

    def _stop(self, status: ExitStatus) -> None:
        self._scheduler.cancel_all()
        self._status = status

    # Stages

    def _encode(self, image: Image) -> None:
        self._attend()
        if image.ended:
            return
        image.encode_from = self._clock()
        self._progress(image, "encoding", image.step)
        with self._blaming(image), self._meter.call("encode", [image]):
            image.begin(self._lane_of(image))
        image.denoise_from = image.decode_from = self._clock()

    def _lane_of(self, image: Image) -> Lane:
        if image.begun is None:
            return self._engine.start(image.spec)
        return self._engine.resume(image.spec, image.begun)

    def _step(self) -> list[Image]:
        """Run one denoising step; returns its images that have no steps left."""
        self._attend()
        images = self._scheduler.next_step()
        if not images:
            return []
        before = [image.lane.evaluation for image in images]
        try:
            self._run_step(images)
        except Exception as error:  # noqa: BLE001 - the engine may raise anything
            self._step_alone(images, before, error)
        for image in images:
            if not image.ended:
                self._denoised(image)
        return self._scheduler.stepped(images)

    def _step_alone(self, images: list[Image], before: list[int], error: Exception) -> None:
        """After a shared step failed, step its images one by one, so that only faulty ones fail.

        An image that the failed step has advanced is not stepped again.
        """
        if len(images) == 1:
            self._requests.blame(images[0], error)
            return
        self._log.warn("a shared step failed, stepping its images one by one", err=error)
        for image, evaluation in zip(images, before, strict=True):
            self._attend()
            if image.ended or image.lane.evaluation != evaluation:
                continue
            with self._blaming(image):
                self._run_step([image])

    def _run_step(self, images: list[Image]) -> None:
        start = self._clock()
        with self._meter.call("denoise", images):
            self._engine.step([image.lane for image in images])
        if all(image.lane.not_finite for image in images):
            return  # the engine computed nothing
        seconds = self._clock() - start
        self._vitals.stepped(seconds * 1000)
        rows = sum(image.spec.rows for image in images)
        self._pace.stepped(images[0].shape, rows, seconds)

    def _denoised(self, image: Image) -> None:
        """Send the image's progress, with a preview if the request wants one at this step.

        Sends nothing between the two evaluations of a second-order step. An image whose numbers are
        not finite fails here; the others continue.
        """
        if (error := image.lane.not_finite) is not None:
            self._requests.blame(image, error)
            return
        image.decode_from = self._clock()
        step, every = image.lane.step, image.request.preview_every
        if step == image.steps_done:
            return
        image.steps_done = step
        leaving = self._departure is not None  # a departing worker skips previews to save time
        if leaving or not every or step % every or step == image.spec.steps:
            self._progress(image, "denoising", step)
            return
        self._attend()
        if not image.ended:
            with self._blaming(image):
                with self._meter.call("preview", [image]):
                    preview = self._engine.preview(image.lane)
                self._progress(image, "denoising", step, preview)

    def _decode(self, image: Image) -> None:
        self._attend()
        if image.ended:
            return
        start = self._clock()
        self._progress(image, "decoding", image.spec.steps)
        with self._blaming(image):
            with self._meter.call("decode", [image]):
                made = self._made(image)
            done = self._clock()
            self._pace.decoded(image.spec.size, done - start)
            self._attend(done=True)
            if not image.ended:
                self._requests.finish(image, _result(image, made, done))

    def _made(self, image: Image) -> Pixels | Latents:
        if image.spec.output_type is UNSET:
            return self._engine.finish(image.lane)
        return self._engine.latents(image.lane)

    @contextmanager
    def _blaming(self, image: Image) -> Iterator[None]:
        """An exception inside fails this image's request and no other."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the engine may raise anything
            self._requests.blame(image, error)

    # Reports

    def _progress(
        self, image: Image, stage: Stage, step: int, preview: Pixels | None = None
    ) -> None:
        progress = Progress(image.request.id, image.index, stage, step, image.spec.steps)
        if preview is not None:
            height, width, _ = preview.shape
            size = PreviewSize(width, height)
            progress = replace(progress, preview=size, pixels=_bytes(preview))
        self._link.send(progress)

    def _publish(self) -> None:
        self._vitals.load(
            rows_in_use=self._scheduler.rows_in_use,
            queued=self._scheduler.queued,
            rows_padded_total=self._engine.rows_padded(),
        )
        self._vitals.merged(self._engine.merges(), self._scheduler.preparing)
        if self._clock() >= self._memory_due:
            self._memory_due = self._clock() + MEMORY_EVERY_S
            self._vitals.memory(self._engine.memory())


def _result(image: Image, made: Pixels | Latents, now: float) -> Result:
    height, width, channels = made.shape
    latents = LatentsForm(width, height, channels * made.itemsize)
    return Result(
        id=image.request.id,
        image=image.index,
        seed=image.spec.seed,
        width=image.spec.width,
        height=image.spec.height,
        timings=image.timings(now),
        pixels=_bytes(made),
        used=used_by([image]),
        latents=UNSET if image.spec.output_type is UNSET else latents,
    )


def _bytes(pixels: Pixels | Latents) -> memoryview:
    """The pixels' own memory, so that sending does not copy them."""
    return np.ascontiguousarray(pixels).data.cast("B")
