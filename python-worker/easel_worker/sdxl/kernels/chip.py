"""Constants of the chip, and a helper, that all kernels share."""

import jax
from jax import Array

LANES = 128

MEMORY = 100 * 2**20
"""Bytes of vector memory that a kernel may use. A v5e has 128 MiB."""


def like(x: Array, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """An abstract array of the dtype of x and another shape."""
    return jax.ShapeDtypeStruct(shape, x.dtype)  # type: ignore[no-untyped-call]
