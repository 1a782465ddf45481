"""The types of values that a message's fields may have, with their limits.

In Python they are plain numbers and strings. msgspec checks the limits of received messages and
names the field that breaks one. It accepts neither null nor a boolean as a number.
"""

import sys
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

_LARGEST = sys.float_info.max
"""The limit of numbers that have no other: a number in JSON may be too large for a double."""

Id = Annotated[str, Meta(min_length=1, max_length=200)]
Name = Annotated[str, Meta(min_length=1, max_length=255)]
Sha256 = Annotated[str, Meta(min_length=64, max_length=64)]

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Uint32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]

Seconds = Annotated[float, Meta(ge=0, le=_LARGEST)]
Milliseconds = Annotated[float, Meta(ge=0, le=_LARGEST)]
Interval = Annotated[float, Meta(ge=1, le=_LARGEST)]
Guidance = Annotated[float, Meta(ge=0, le=_LARGEST)]
Score = Annotated[float, Meta(ge=0, le=10)]
CacheOrder = Annotated[int, Meta(ge=0, le=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
TenantWeight = Annotated[float, Meta(gt=0, le=_LARGEST)]
InnerShare = Annotated[float, Meta(gt=0, lt=1)]
ConditioningScale = Annotated[float, Meta(ge=0, le=10)]
Weight = Annotated[float, Meta(ge=-1000, le=1000)]

LoraName = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^<>:\u0000-\u001f]+$")]
"""The name of a LoRA or an embedding: nothing that a tag in a prompt cannot hold."""

LoraWeight = Annotated[float, Meta(ge=-10, le=10)]
ShortText = Annotated[str, Meta(max_length=200)]
TriggerWord = Annotated[str, Meta(max_length=100)]

Weighting = Literal["a1111", "compel"]
"""How a prompt's weights are applied."""

OutputType = Literal["latent"]
"""What an image is, if not pixels."""

Upscaler = Literal[
    "latent",
    "latent-antialiased",
    "latent-bicubic",
    "latent-bicubic-antialiased",
    "latent-nearest",
    "latent-nearest-exact",
]
"""How latents are brought to another size."""

Spacing = Literal["leading", "trailing", "linspace"]
Sigma = Annotated[float, Meta(ge=0, le=1e6)]

Timesteps = Annotated[tuple[Count, ...], Meta(min_length=1, max_length=1000)]
Sigmas = Annotated[tuple[Sigma, ...], Meta(min_length=2, max_length=1001)]

AtLeastOne = Meta(min_length=1)
"""Marks a list that must not be empty."""

AtMost8, AtMost32, AtMost100, AtMost1000 = (Meta(max_length=most) for most in (8, 32, 100, 1000))
"""Mark a list of at most this many items."""

OneTo4, OneTo6, OneTo8, OneTo64, OneTo100 = (
    Meta(min_length=1, max_length=most) for most in (4, 6, 8, 64, 100)
)
"""Mark a list of at least one and at most this many items."""


_Side = Annotated[int, Meta(ge=1, le=65535)]
_Offset = Annotated[int, Meta(ge=0, le=65535)]

HeightWidth = tuple[_Side, _Side]
TopLeft = tuple[_Offset, _Offset]


class Size(NamedTuple):
    """An image's size in pixels; on the wire a list of two numbers."""

    width: Positive
    height: Positive

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"
