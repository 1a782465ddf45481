"""The inputs of both sides: one small image, in diffusers' layout."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 32
"""Latents per side, for a 256x256 image."""


def inputs() -> dict[str, NDArray[Any]]:
    """Return the inputs, the same at each call."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape, dtype=np.float32)

    return {
        "sample": normal(1, 4, SIDE, SIDE),
        "timestep": np.float32([400]),
        "context": normal(1, 77, 2048),
        "pooled": normal(1, 1280),
        "time_ids": np.float32([[8 * SIDE, 8 * SIDE, 0, 0, 8 * SIDE, 8 * SIDE]]),
        "latents": normal(1, 4, SIDE, SIDE),
    }
