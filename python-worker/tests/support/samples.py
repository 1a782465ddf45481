"""Requests, specs and capabilities to test with."""

import dataclasses
from typing import Any

import numpy as np
from msgspec import UNSET

from easel_worker.engine import ControlUse, ImageSpec, LoraUse, Parameters, Tokens
from easel_worker.fake.image import canonical_text, picture
from easel_worker.image import Image
from easel_worker.pictures import ROLES, pictures
from easel_worker.protocol import Generate, PictureForm, Result, Tenant
from easel_worker.values import Size

LENGTH = 77
SMALL = Size(64, 48)
DEFAULT_SIZE = Size(1024, 1024)


def token_ids(first: int = 1, chunks: int = 1) -> Tokens:
    """Return a prompt of this many chunks for both encoders."""
    ids = tuple(range(first, first + chunks * LENGTH))
    return Tokens(ids=ids, ids_2=ids[::-1])


def generate(request: str, *seeds: int, **changes: Any) -> Generate:
    """Return a request for a guided 64×48 image of 4 steps per seed (default: seed 1)."""
    fields: dict[str, Any] = {
        "prompt": token_ids(),
        "negative": None,
        "steps": 4,
        "guidance": 5.0,
        "scheduler": "euler",
        "width": SMALL[0],
        "height": SMALL[1],
    }
    return Generate(id=request, seeds=seeds or (1,), **(fields | changes))


def with_pictures(request: Generate, *roles: str) -> Generate:
    """Return the request with random pictures of these roles, all of the image's size.

    Latents have random numbers near 0, and as many places as the image has pixels.
    """
    rng = np.random.default_rng(len(roles))
    forms, frames = [], []
    for role in roles:
        form = PictureForm(role, request.width, request.height, ROLES[role].channels)
        forms.append(form)
        numbers = rng.standard_normal(form.bytes // 4, "<f4")  # random bytes may be NaN
        made = numbers.tobytes() if role == "latents" else rng.bytes(form.bytes)
        frames.append(memoryview(made))
    return dataclasses.replace(request, pictures=tuple(forms), frames=tuple(frames))


def spec_of(request: Generate, seed: int) -> ImageSpec:
    """Return the spec of one of the request's images."""
    decided = {field.name: getattr(request, field.name) for field in dataclasses.fields(Parameters)}
    return ImageSpec(seed=seed, **decided, **pictures(request))


def image(
    request: str,
    index: int = 0,
    size: Size = DEFAULT_SIZE,
    rows: int = 2,
    steps: int = 4,
    *,
    chunks: int = 1,
    arrived: float = 0.0,
    timeout_s: float | None = None,
    loras: str = "",
    controlled: bool = False,
    tenant: Tenant | None = None,
    handover: int | None = None,
) -> Image:
    """Return an image that waits for rows. Each letter of `loras` is a LoRA.

    A `handover` that the image does not reach is none.
    """
    asked = generate(
        request,
        prompt=token_ids(chunks=chunks),
        steps=steps,
        guidance=float(rows),
        width=size.width,
        height=size.height,
        timeout_ms=UNSET if timeout_s is None else timeout_s * 1000,
        loras=tuple(LoraUse(name, name * 64, 1.0, 1.0) for name in loras) or UNSET,
        tenant=tenant or UNSET,
    )
    spec = spec_of(asked, seed=1)
    if controlled:  # without its picture, which scheduling does not need
        spec = dataclasses.replace(spec, controls=(ControlUse("c", "c" * 64, 1.0),))
    made = Image(asked, index, spec, arrived, evaluations=asked.steps)
    made.handover = handover if handover is not None and handover < steps else None
    return made


def is_answer(result: Result, request: Generate) -> bool:
    """Return whether a result is the fake engine's picture for this request and image."""
    seed = request.seeds[result.image]
    expected = picture(canonical_text(spec_of(request, seed)), request.width, request.height)
    return (
        result.id == request.id
        and result.seed == seed
        and (result.width, result.height) == (request.width, request.height)
        and bytes(result.pixels) == expected.tobytes()
    )
