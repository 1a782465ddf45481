"""The states of unfinished images: for another worker, and from one.

A state moves with the image's request. The digest is over both, so a state that was damaged, or
that belongs to another image, is refused and never continued.
"""

from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from easel_worker.engine import BadState, ImageSpec, LaneState
from easel_worker.image import Image
from easel_worker.meter import used_by
from easel_worker.protocol import Generate, StateForm


def form_of(image: Image, state: LaneState) -> StateForm:
    """What FAILED says about an image's state."""
    return StateForm(
        image=image.index,
        step=state.step,
        evaluation=state.evaluation,
        bytes=len(state.data),
        digest=digest_of(image.spec, state),
        used=used_by([image]),
    )


def digest_of(spec: ImageSpec, state: LaneState) -> str:
    """SHA-256 of an image's spec, of how far it is, and of its state."""
    told = msgspec.json.encode((spec, state.evaluation, state.step), enc_hook=_digest_of_pixels)
    return sha256(sha256(told).digest() + sha256(state.data).digest()).hexdigest()


def _digest_of_pixels(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return sha256(np.ascontiguousarray(value).data).hexdigest()
    raise TypeError(f"a spec has a {type(value).__name__}")


def states_of(request: Generate, specs: tuple[ImageSpec, ...]) -> dict[int, LaneState]:
    """The states that a request brings, by the index of their image.

    Raises:
        BadState: one is of no image of the request, or damaged.
    """
    if request.states is UNSET:
        return {}
    states: dict[int, LaneState] = {}
    for form, frame in zip(request.states, request.state_frames, strict=True):
        name = f"the state of image {form.image}"
        if form.image >= len(specs) or form.image in states:
            raise BadState(f"{name}: the request has no such image, or a state of it already")
        state = LaneState(form.evaluation, form.step, frame)
        if digest_of(specs[form.image], state) != form.digest:
            raise BadState(f"{name} is damaged, or of another image: its digest differs")
        states[form.image] = state
    return states
