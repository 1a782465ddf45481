"""Accepts and ends requests. Each accepted request ends exactly once."""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import UNSET, UnsetType

from easel_worker.engine import (
    BadState,
    Capabilities,
    InvalidRequest,
    Lane,
    LaneState,
    NotFinite,
    evaluations_of,
)
from easel_worker.failures import failure_code, failure_text
from easel_worker.image import Image
from easel_worker.logs import Logger
from easel_worker.meter import used_by
from easel_worker.protocol import (
    Failed,
    FailureCode,
    FromWorker,
    Generate,
    Result,
    StateForm,
)
from easel_worker.specs import specs
from easel_worker.states import form_of, states_of
from easel_worker.step_scheduler import StepScheduler
from easel_worker.vitals import Vitals

Save = Callable[[Lane, int], LaneState | None]
"""See `Engine.save`."""

MAX_STATES = 100
"""The most states in one message."""

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
            states = states_of(request, wanted)
        except (InvalidRequest, BadState) as error:
            self.refuse(request, failure_code(error), str(error))
            return
        evaluations = evaluations_of(wanted[0], capabilities)
        images = [
            Image(request, index, spec, arrived, evaluations, states.get(index))
            for index, spec in enumerate(wanted)
        ]
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

    def give_back(self, request: str, reason: str, save: Save) -> None:
        """Fail a request that this worker cannot finish, with what another one can continue from.

        Args:
            request: its id.
            reason: why this worker leaves.
            save: gives the state of an image that has one.
        """
        images = list(self._scheduler.of(request))
        saved = self._saved(images, save)
        used = used_by(images)
        if not self._scheduler.cancel(request):
            return
        forms = tuple(form for form, _ in saved)
        states: tuple[StateForm, ...] | UnsetType = forms or UNSET
        frames = tuple(memoryview(state.data) for _, state in saved)
        self._link.send(Failed(request, "draining", reason, used, states, frames))
        if saved:
            self._log.info(
                "gave back a request with the states of its images",
                id=request,
                steps=[form.step for form in forms],
                bytes=sum(form.bytes for form in forms),
            )

    def _saved(self, images: Sequence[Image], save: Save) -> list[tuple[StateForm, LaneState]]:
        """The states of a request's images that have done any step, if the gateway takes them."""
        saved = []
        for image in images[:MAX_STATES]:
            most = image.request.max_state_bytes
            lane: Lane | None = getattr(image, "lane", None)
            if most is UNSET or lane is None or not lane.evaluation:
                continue
            try:
                state = save(lane, most)
            except Exception as error:  # noqa: BLE001 - the engine may raise anything
                self._log.error(
                    "cannot save an image's state; it starts anew elsewhere",
                    **_names(image.request),
                    image=image.index,
                    err=error,
                )
                continue
            if state is not None:
                saved.append((form_of(image, state), state))
        return saved

    def blame(self, image: Image, error: Exception) -> None:
        """End the request of an image whose work raised `error`."""
        request, code = image.request, failure_code(error)
        # Numbers that are not finite may be due to what the client chose.
        spec = image.spec
        chosen = any(map(bool, (spec.loras, spec.embeddings, spec.controls, spec.ip_adapters)))
        by_choice = isinstance(error, NotFinite) and chosen
        self.failures_in_a_row += code not in ("invalid", "state") and not by_choice
        self.fail(request.id, code, failure_text(error))
        names = _names(request)
        if isinstance(error, NotFinite):
            self._vitals.not_finite(error.stage)
            self._log.error(
                f"an image failed: {error}", **names, image=image.index, stage=error.stage
            )
        elif code == "invalid":
            self._log.info("invalid request", **names, reason=str(error))
        elif code == "state":
            self._log.warn("refused the state of an image", **names, reason=str(error))
        else:
            self._log.error("the engine failed", **names, err=error)


def _names(request: Generate) -> dict[str, object]:
    """The fields by which log lines name a request."""
    return {"id": request.id, "trace": request.trace or None}
