"""Cheap pictures of unfinished latents: colours as a linear function of a latent's channels.

Every VAE has its own colours, so they are fitted to what its decoder makes of fixed random latents.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from easel_worker.engine import Pixels

PATCH = 4
"""Random latents are constant over patches of this many pixels a side, as images are in part."""

SAMPLES = 2


@dataclass(frozen=True)
class LinearPreview:
    """The fit: red, green, blue from channels and a constant, [channels + 1, 3], 0 to 255."""

    matrix: NDArray[np.floating[Any]]

    def picture(self, latents: NDArray[np.float32]) -> Pixels:
        """Latents [h, w, channels] → pixels [h, w, 3]."""
        colours = _with_constant(latents) @ self.matrix
        return np.clip(colours.round(), 0, 255).astype(np.uint8)


def fit_preview(
    decode: Callable[[NDArray[np.float32]], Pixels], shape: tuple[int, int, int]
) -> LinearPreview:
    """Fit colours by least squares.

    Args:
        decode: latents [h, w, channels] → pixels [H, W, 3].
        shape: of latents that `decode` takes.
    """
    generator = np.random.default_rng(0)
    latents = np.stack([_random_latents(shape, generator) for _ in range(SAMPLES)])
    colours = np.stack([_shrink(decode(sample), shape) for sample in latents])
    matrix, *_ = np.linalg.lstsq(
        _with_constant(latents).reshape(-1, shape[2] + 1), colours.reshape(-1, 3)
    )
    return LinearPreview(matrix)


def _random_latents(
    shape: tuple[int, int, int], generator: np.random.Generator
) -> NDArray[np.float32]:
    height, width, channels = shape
    coarse = (-(-height // PATCH), -(-width // PATCH), channels)
    patches = generator.standard_normal(coarse, dtype=np.float32)
    return patches.repeat(PATCH, axis=0).repeat(PATCH, axis=1)[:height, :width]


def _shrink(pixels: Pixels, shape: tuple[int, int, int]) -> NDArray[np.floating[Any]]:
    """The mean colour behind each latent, [h, w, 3]."""
    height, width, _ = shape
    blocks = pixels.reshape(height, pixels.shape[0] // height, width, -1, 3)
    return np.asarray(blocks.mean(axis=(1, 3)))


def _with_constant(latents: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([latents, np.ones_like(latents[..., :1])], axis=-1)
