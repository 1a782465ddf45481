"""Makes a request's pictures from the frames of its message."""

from hashlib import sha256

import numpy as np
from msgspec import UNSET

from easel_worker.engine import InvalidRequest, Picture
from easel_worker.protocol import Generate
from easel_worker.values import Size

CHANNELS = {"image": 3, "mask": 1}
"""The roles that a picture may have, with its channels."""


def pictures(request: Generate) -> dict[str, Picture]:
    """The request's pictures by their roles, which are fields of `ImageSpec`. Copies no pixels.

    Raises:
        InvalidRequest: a role is unknown or there twice, or a picture has another form than its
            role's in an image of the request's size, or a mask comes without an image before it.
    """
    forms = () if request.pictures is UNSET else request.pictures
    made: dict[str, Picture] = {}
    for number, (form, frame) in enumerate(zip(forms, request.frames, strict=True)):
        name = f"pictures[{number}]"
        if form.role not in CHANNELS:
            raise InvalidRequest(f"{name}: {form.role!r} is not one of {', '.join(CHANNELS)}")
        if form.role in made:
            raise InvalidRequest(f"{name}: there are two pictures with the role {form.role!r}")
        if form.role == "mask" and not made:
            raise InvalidRequest(f"{name}: a mask comes after the image that it repaints")
        wanted = Size(request.width, request.height), CHANNELS[form.role]
        if (Size(form.width, form.height), form.channels) != wanted:
            raise InvalidRequest(
                f"{name}: the {form.role} must be {wanted[0]} with {wanted[1]} channels, and is "
                f"{Size(form.width, form.height)} with {form.channels}"
            )
        shape = form.height, form.width, form.channels
        pixels = np.frombuffer(frame, np.uint8).reshape(shape)
        made[form.role] = Picture(sha256(frame).hexdigest(), pixels)
    return made
