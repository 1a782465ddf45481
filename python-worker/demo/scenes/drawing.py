"""Draws a scene with numpy. Edges are anti-aliased from the exact distance to the outline."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from demo.scenes.scene import IMAGE_SIZE, PALETTE, Object, Scene

_CENTRES = np.arange(IMAGE_SIZE, dtype=np.float32) + 0.5


def coverage(item: Object) -> NDArray[np.float32]:
    """Return the part of each pixel that the object covers, [128, 128] in 0..1."""
    dx = (_CENTRES - item.cx)[None, :]
    dy = (_CENTRES - item.cy)[:, None]
    distance = _distance(item.shape, dx, dy, float(item.half))
    return np.asarray(np.clip(0.5 - distance, 0.0, 1.0), np.float32)


def draw(scene: Scene) -> NDArray[np.uint8]:
    """Draw a scene, RGB [128, 128, 3]."""
    image = np.empty((IMAGE_SIZE, IMAGE_SIZE, 3), np.float32)
    image[:] = PALETTE[scene.background]
    for item in scene.objects:
        alpha = coverage(item)[..., None]
        image += alpha * (np.array(PALETTE[item.colour], np.float32) - image)
    return np.rint(image).astype(np.uint8)


def draw_all(scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    """Draw several scenes, RGB [n, 128, 128, 3]."""
    return np.stack([draw(scene) for scene in scenes])


def _distance(
    shape: str, dx: NDArray[np.float32], dy: NDArray[np.float32], half: float
) -> NDArray[np.float32]:
    """Return the signed distance to the outline, negative inside; inexact outside corners."""
    if shape == "circle":
        return np.asarray(np.hypot(dx, dy) - half, np.float32)
    if shape == "square":
        return np.asarray(np.maximum(np.abs(dx), np.abs(dy)) - half, np.float32)
    if shape == "triangle":  # the apex points up; both slanted sides have slope 2
        side = (2.0 * np.abs(dx) - dy - half) / np.sqrt(np.float32(5.0))
        return np.asarray(np.maximum(side, dy - half), np.float32)
    raise ValueError(f"unknown shape {shape!r}: use circle, square or triangle")
