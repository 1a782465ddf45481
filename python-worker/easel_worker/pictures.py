"""Makes a request's pictures from the frames of its message."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from msgspec import UNSET

from easel_worker.engine import InvalidRequest, Picture
from easel_worker.protocol import Generate, PictureForm
from easel_worker.values import Size

MAX_OWN_SIDE = 1024
"""The longest side of a picture that has a size of its own."""

LATENT_BYTES = 16
"""The channels of latents as a picture: four float32 numbers, little-endian."""


@dataclass(frozen=True)
class Role:
    """What a picture of this role is.

    Attributes:
        field: its field of `ImageSpec`.
        channels: of its pixels.
        each_of: the field of GENERATE with an entry for each picture; empty for one at most.
        own_size: whether it has a size of its own; otherwise it has that of the image.
    """

    field: str
    channels: int
    each_of: str = ""
    own_size: bool = False


ROLES = {
    "image": Role("image", 3),
    "mask": Role("mask", 1),
    "latents": Role("latents", LATENT_BYTES, own_size=True),
    "control": Role("control_pictures", 3, each_of="controls"),
    "ip_adapter": Role("ip_adapter_pictures", 3, each_of="ip_adapters", own_size=True),
}
"""The roles that a picture may have, in the order in which a message has them."""


def pictures(request: Generate) -> dict[str, Any]:
    """The request's pictures by fields of `ImageSpec`. Copies no pixels.

    Raises:
        InvalidRequest: a role is unknown, out of its order or there twice; a picture has another
            form than its role's in an image of the request's size; a mask comes without an image
            before it; or a control or IP-Adapter has no picture, or a picture has none.
    """
    forms = () if request.pictures is UNSET else request.pictures
    made: dict[str, list[Picture]] = {role: [] for role in ROLES}
    last = 0
    for number, (form, frame) in enumerate(zip(forms, request.picture_frames, strict=True)):
        name = f"pictures[{number}]"
        if form.role not in ROLES:
            raise InvalidRequest(f"{name}: {form.role!r} is not one of {', '.join(ROLES)}")
        if made[form.role] and not ROLES[form.role].each_of:
            raise InvalidRequest(f"{name}: there are two pictures with the role {form.role!r}")
        if form.role == "mask" and not made["image"]:
            raise InvalidRequest(f"{name}: a mask comes after the image that it repaints")
        place = list(ROLES).index(form.role)
        if place < last:
            order = ", ".join(ROLES)
            raise InvalidRequest(f"{name}: the roles of pictures come in the order {order}")
        last = place
        _check_form(name, form, request)
        pixels = np.frombuffer(frame, np.uint8).reshape(form.height, form.width, form.channels)
        made[form.role].append(Picture(sha256(frame).hexdigest(), pixels))
    _check_counts(made, request)
    return {
        role.field: tuple(made[name]) if role.each_of else made[name][0]
        for name, role in ROLES.items()
        if made[name]
    }


def _check_form(name: str, form: PictureForm, request: Generate) -> None:
    role, size = ROLES[form.role], Size(form.width, form.height)
    own = f"{size} with {form.channels}"
    if role.own_size:
        if max(size) > MAX_OWN_SIDE or form.channels != role.channels:
            raise InvalidRequest(
                f"{name}: the {form.role} must have {role.channels} channels and "
                f"sides of at most {MAX_OWN_SIDE}, and is {own}"
            )
        return
    wanted = Size(request.width, request.height)
    if (size, form.channels) != (wanted, role.channels):
        raise InvalidRequest(
            f"{name}: the {form.role} must be {wanted} with {role.channels} channels, and is {own}"
        )


def _check_counts(made: dict[str, list[Picture]], request: Generate) -> None:
    for name, role in ROLES.items():
        if not role.each_of:
            continue
        entries = getattr(request, role.each_of)
        wanted = 0 if entries is UNSET else len(entries)
        if len(made[name]) != wanted:
            raise InvalidRequest(
                f"{role.each_of} has {wanted} entries, so pictures must have as many of the role "
                f"{name}, and has {len(made[name])}"
            )
