"""Weights that need no storage: a tensor's name and shape decide its values.

Both sides of a golden comparison make the same bits. Only the raw output of PCG64 is used, which
numpy promises never to change, and exact float32 arithmetic on it.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def uniform(name: str, shape: tuple[int, ...]) -> Floats:
    """Values in [-1, 1) with 24 random bits each, decided by the name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    raw = np.random.PCG64(seed).random_raw(math.prod(shape))
    bits = (raw >> np.uint64(40)).astype(np.int32)
    return (bits.astype(np.float32) * np.float32(2**-23) - np.float32(1)).reshape(shape)


def weight(name: str, shape: tuple[int, ...], gain: float) -> Floats:
    """A parameter of a sane size: activations keep about unit variance from layer to layer.

    Norms scale by about 1, biases are small but not zero, so that a lost one is noticed.

    A small `gain` makes the inputs of all norms small, so that a wrong epsilon is noticed: it
    multiplies all weights except norms and what transformer blocks add to their (small) input.
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
