"""What all kernels know of the chip that they are for, and how they say what they give."""

import jax
from jax import Array

LANES = 128

MEMORY = 100 * 2**20
"""Bytes of vector memory that a kernel may take, of a v5e's 128 MiB."""


def like(x: Array, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """An array of another shape, else as x."""
    return jax.ShapeDtypeStruct(shape, x.dtype)  # type: ignore[no-untyped-call]
