"""The inputs of both sides for tiled decoding. No torch."""

import numpy as np
from numpy.typing import NDArray

CASE = "four-levels"
"""The case whose weights the golden file uses."""

FILE = "vae-tiles.npz"

TILE = 8
"""Latents per side of a tile: three tiles by two; the last ones are smaller."""

LATENTS = (1, 4, 15, 10)


def latents(seed: int) -> NDArray[np.float32]:
    """Return random latents in diffusers' layout."""
    return np.random.default_rng(seed).standard_normal(LATENTS, np.float32)
