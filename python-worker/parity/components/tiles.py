"""Decoding in tiles: what both sides are given. No torch."""

import numpy as np
from numpy.typing import NDArray

CASE = "four-levels"
"""Whose weights the golden is made with."""

FILE = "vae-tiles.npz"

TILE = 8
"""Latents along a tile's sides: three tiles by two, the last ones of part of the size."""

LATENTS = (1, 4, 15, 10)


def latents(seed: int) -> NDArray[np.float32]:
    """Random latents in diffusers' layout."""
    return np.random.default_rng(seed).standard_normal(LATENTS, np.float32)
