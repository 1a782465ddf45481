"""Weights that need no storage: a tensor's name and shape determine its values.

Both sides of a golden comparison make the same bits, from the raw output of PCG64, which numpy
promises never to change, and exact float32 arithmetic.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def uniform(name: str, shape: tuple[int, ...]) -> Floats:
    """Return values in [-1, 1) with 24 random bits each; the name is the seed."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    raw = np.random.PCG64(seed).random_raw(math.prod(shape))
    bits = (raw >> np.uint64(40)).astype(np.int32)
    return (bits.astype(np.float32) * np.float32(2**-23) - np.float32(1)).reshape(shape)


def weight(name: str, shape: tuple[int, ...], gain: float) -> Floats:
    """Return a parameter scaled so that activations keep about unit variance between layers.

    Norms scale by about 1; biases are small but not zero, so that a missing one shows.

    A small `gain` makes the inputs of all norms small, so that a wrong epsilon shows: it multiplies
    all weights except norms and the outputs that transformer blocks add to their small input.
    """
    values = uniform(name, shape)
    if len(shape) == 1 and name.endswith("weight"):
        return np.float32(1) + values * np.float32(0.2)
    if "transformer_blocks" in name:
        gain = 1.0
    if len(shape) > 1:
        fan_in = shape[-1] if "embedding.weight" in name else math.prod(shape[1:])
        return values * np.float32(gain * math.sqrt(3 / fan_in))
    return values * np.float32(gain * 0.1)
