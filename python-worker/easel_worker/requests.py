"""Accepts and ends requests. Each accepted request ends exactly once."""

from typing import Protocol

from easel_worker.engine import Capabilities, InvalidRequest, NotFinite, evaluations_of
from easel_worker.failures import failure_code, failure_text
from easel_worker.image import Image
from easel_worker.logs import Logger
from easel_worker.meter import used_by
from easel_worker.protocol import Failed, FailureCode, FromWorker, Generate, Result
from easel_worker.specs import specs
from easel_worker.step_scheduler import StepScheduler
from easel_worker.vitals import Vitals

MAX_IMAGES = 4096
MAX_BYTES_OF_PICTURES = 1 << 30
"""The gateway limits the queue; these only stop a faulty gateway from filling the memory."""


class Link(Protocol):
    """The connection to the gateway."""

    def send(self, message: FromWorker) -> None:
        """Send a message, or drop it if the session is over."""

    def resume(self) -> None:
        """Accept messages again: the loop has dropped the lost session's requests."""


class Requests:
    """Puts requests into the step scheduler and reports to the gateway how they end."""

    def __init__(self, scheduler: StepScheduler, link: Link, vitals: Vitals, log: Logger) -> None:
        self._scheduler = scheduler
        self._link = link
        self._vitals = vitals
        self._log = log
        self.failures_in_a_row = 0

    def accept(self, request: Generate, arrived: float, capabilities: Capabilities) -> None:
        """Queue the request's images, or fail the request and say why."""
        if request.id in self._scheduler:
            self._log.warn("ignored a request whose id is in use", id=request.id)
            return
        if sum(1 for _ in self._scheduler.images()) + len(request.seeds) > MAX_IMAGES:
            self.refuse(request, "internal", f"{MAX_IMAGES} images are waiting: send fewer")
            return
        if self._bytes_of_pictures(request) > MAX_BYTES_OF_PICTURES:
            limit = f"{MAX_BYTES_OF_PICTURES} bytes of pictures are waiting: send fewer"
            self.refuse(request, "internal", limit)
            return
        try:
            wanted = specs(request, capabilities)
        except InvalidRequest as error:
            self.refuse(request, "invalid", str(error))
            return
        evaluations = evaluations_of(wanted[0], capabilities)
        images = [Image(request, *one, arrived, evaluations) for one in enumerate(wanted)]
        self._scheduler.add(images)

    def _bytes_of_pictures(self, request: Generate) -> int:
        """The frames of this request and of those that have not ended."""
        requests = {image.request.id: image.request for image in self._scheduler.images()}
        return sum(len(f) for each in (*requests.values(), request) for f in each.frames)

    def refuse(self, request: Generate, code: FailureCode, message: str) -> None:
        """Fail a request that was not accepted."""
        self._link.send(Failed(request.id, code, message))
        self._log.info("refused a request", **_names(request), code=code)

    def finish(self, image: Image, result: Result) -> None:
        """Send a finished image; the last one ends the request."""
        self.failures_in_a_row = 0
        self._scheduler.finished(image)
        self._link.send(result)

    def fail(self, request: str, code: FailureCode, message: str) -> None:
        """End a request with FAILED, unless it has already ended."""
        used = used_by(self._scheduler.of(request))
        if self._scheduler.cancel(request):
            self._link.send(Failed(request, code, message, used))

    def blame(self, image: Image, error: Exception) -> None:
        """End the request of an image whose work raised `error`."""
        request, code = image.request, failure_code(error)
        # Numbers that are not finite may be due to what the client chose.
        spec = image.spec
        chosen = any(map(bool, (spec.loras, spec.embeddings, spec.controls, spec.ip_adapters)))
        by_choice = isinstance(error, NotFinite) and chosen
        self.failures_in_a_row += code != "invalid" and not by_choice
        self.fail(request.id, code, failure_text(error))
        names = _names(request)
        if isinstance(error, NotFinite):
            self._vitals.not_finite(error.stage)
            self._log.error(
                f"an image failed: {error}", **names, image=image.index, stage=error.stage
            )
        elif code == "invalid":
            self._log.info("invalid request", **names, reason=str(error))
        else:
            self._log.error("the engine failed", **names, err=error)


def _names(request: Generate) -> dict[str, object]:
    """The fields by which log lines name a request."""
    return {"id": request.id, "trace": request.trace or None}
