"""Measures a picture: its background, and each object's colour, shape and position."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from demo.scenes.scene import COLOURS, PALETTE, SHAPES

_BORDER = 4  # scenes keep objects off the outermost four pixels
_SMALLEST_AREA = 64  # pixels; smaller parts are noise
_TIP = 3  # pixels that opening cuts off a triangle's tip
_LEAST_OVERLAP = 0.85  # with the best template; below this, the shape is unknown
_LONGEST_ASPECT = 1.3

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Found:
    """One measured object, in pixels; `shape` is None when no template fits."""

    colour: str
    shape: str | None
    cx: float
    cy: float
    width: int
    height: int
    area: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured picture, with its objects in order of decreasing area."""

    background: str
    objects: tuple[Found, ...]


def measure(image: NDArray[np.uint8]) -> Measured:
    """Measure an RGB picture [h, w, 3] from the nearest palette colour of each pixel."""
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected an RGB picture [h, w, 3], got shape {image.shape}")
    names = nearest_colours(image)
    border = np.ones(names.shape, bool)
    border[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    background = int(np.bincount(names[border], minlength=len(COLOURS)).argmax())
    found = [
        _describe(COLOURS[index], part)
        for index in range(len(COLOURS))
        if index != background
        for part in _parts(names == index)
    ]
    found.sort(key=lambda item: -item.area)
    return Measured(COLOURS[background], tuple(found))


def nearest_colours(image: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return the index into COLOURS of each pixel's nearest palette colour, [h, w]."""
    palette = np.array([PALETTE[name] for name in COLOURS], np.float32)
    difference = image[..., None, :].astype(np.float32) - palette
    return np.asarray(np.square(difference).sum(-1).argmin(-1))


def _parts(mask: Mask) -> list[Mask]:
    """Return the connected parts that are large enough to be objects, with holes filled.

    Blended pixels of an outline may match a third colour; opening removes such thin rings.
    It also cuts off sharp tips, so each part is then dilated within the pixels of its colour.
    """
    opened = ndimage.binary_opening(mask, np.ones((3, 3)))
    labels, count = ndimage.label(opened)
    parts = [labels == label for label in range(1, count + 1)]
    grown = [ndimage.binary_dilation(part, iterations=_TIP, mask=mask) for part in parts]
    filled = [np.asarray(ndimage.binary_fill_holes(part)) for part in grown]
    return [part for part in filled if part.sum() >= _SMALLEST_AREA]


def _describe(colour: str, part: Mask) -> Found:
    ys, xs = np.nonzero(part)
    top, left = int(ys.min()), int(xs.min())
    height, width = int(ys.max()) + 1 - top, int(xs.max()) + 1 - left
    return Found(
        colour=colour,
        shape=_shape(part[top : top + height, left : left + width]),
        cx=left + width / 2,
        cy=top + height / 2,
        width=width,
        height=height,
        area=int(part.sum()),
    )


def _shape(cut: Mask) -> str | None:
    """Return the shape with the highest intersection over union, stretched to the same box."""
    height, width = cut.shape
    if max(height / width, width / height) > _LONGEST_ASPECT:
        return None
    overlaps = {}
    for shape in SHAPES:
        template = _template(shape, height, width)
        overlaps[shape] = float((cut & template).sum() / (cut | template).sum())
    best = max(overlaps, key=lambda shape: overlaps[shape])
    return best if overlaps[best] >= _LEAST_OVERLAP else None


def _template(shape: str, height: int, width: int) -> Mask:
    y = (np.arange(height)[:, None] + 0.5) / height * 2.0 - 1.0
    x = (np.arange(width)[None, :] + 0.5) / width * 2.0 - 1.0
    if shape == "circle":
        return np.asarray(x * x + y * y <= 1.0)
    if shape == "triangle":
        return np.asarray(2.0 * np.abs(x) <= y + 1.0)
    return np.ones((height, width), bool)
