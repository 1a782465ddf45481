"""Prepares a picture for CLIP's vision encoder, as transformers' CLIPImageProcessor does.

It resizes the shorter side with Pillow's bicubic filter, cuts out the middle, and normalises. The
bytes are those of Pillow 13; what is cut off is not computed.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

_SUPPORT = 2.0
"""Pixels that the filter reaches to each side."""

_BITS = 22
"""Pillow multiplies integers: the weights of a pixel, times 2 to this power."""

Pixels = NDArray[np.uint8]


class _Cut(NamedTuple):
    """The side of a resized picture, and the first of the pixels that are not cut off."""

    resized: int
    first: int


def clip_pixels(picture: Pixels, side: int) -> NDArray[np.float32]:
    """The encoder's input, [side, side, 3], normalised.

    Args:
        picture: [H, W, 3].
        side: of the encoder's pictures.

    https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/image_processing_backends.py#L656
    """
    height, width, _ = picture.shape
    shorter = min(height, width)
    rows, columns = (_cut(each, shorter, side) for each in (height, width))
    # Pillow rounds after each of the two passes, so their order counts.
    if height - rows.resized > max(2 * (width - columns.resized), 0):
        cut = _resize_columns(_resize(picture, rows, side), columns, side)
    else:
        cut = _resize(_resize_columns(picture, columns, side), rows, side)
    values = (cut.astype(np.float64) * (1 / 255)).astype(np.float32)
    mean, deviation = np.array(MEAN, np.float32), np.array(DEVIATION, np.float32)
    normal: NDArray[np.float32] = (values - mean) / deviation
    return normal


def _cut(length: int, shorter: int, side: int) -> _Cut:
    """How a side of this length is resized and cut."""
    resized = int(side * length / shorter)
    return _Cut(resized, (resized - side) // 2)


def _resize_columns(picture: Pixels, cut: _Cut, side: int) -> Pixels:
    """`_resize` for the second axis."""
    return _resize(picture.swapaxes(0, 1), cut, side).swapaxes(0, 1)


def _resize(picture: Pixels, cut: _Cut, side: int) -> Pixels:
    """Resize the first axis of [length, other, 3], and return `side` of its pixels.

    https://github.com/python-pillow/Pillow/blob/13.0.0/src/libImaging/Resample.c
    """
    length = len(picture)
    if cut.resized == length:
        return picture[cut.first : cut.first + side]
    scale = length / cut.resized
    wider = max(scale, 1.0)
    centres = (np.arange(cut.first, cut.first + side)[:, None] + 0.5) * scale
    support = _SUPPORT * wider
    pixels = np.arange(length)
    inside = pixels >= (centres - support + 0.5).astype(np.int64)
    inside &= pixels < (centres + support + 0.5).astype(np.int64)
    weights = np.where(inside, _bicubic((pixels - centres + 0.5) * (1 / wider)), 0.0)
    # One after the other, as Pillow adds them up: the last bit counts.
    whole = np.add.accumulate(weights, axis=1)[:, -1:]
    weights = np.divide(weights, whole, out=weights, where=whole != 0.0)
    integers = np.trunc(weights * (1 << _BITS) + np.copysign(0.5, weights))
    # Sums of integers below 2^53 are exact in float64, in any order.
    sums = np.tensordot(integers, picture.astype(np.float64), 1) + (1 << (_BITS - 1))
    return np.clip(np.floor(sums / (1 << _BITS)), 0, 255).astype(np.uint8)


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weight at a distance, for a = -1/2: Catmull and Rom's spline."""
    x, a = np.abs(x), -0.5
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
