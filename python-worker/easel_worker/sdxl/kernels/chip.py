"""Constants of the chip, and helpers, that several kernels share."""

import jax
import jax.numpy as jnp
from jax import Array, lax

LANES = 128

MEMORY = 100 * 2**20
"""Bytes of vector memory that a kernel may use. A v5e has 128 MiB."""


def like(x: Array, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """An abstract array of the dtype of x and another shape."""
    return jax.ShapeDtypeStruct(shape, x.dtype)  # type: ignore[no-untyped-call]


def standardised(x: Array, eps: float) -> Array:
    """Float32 tokens [tokens, C] with zero mean and unit variance over C, in two passes."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return centred * lax.rsqrt(variance + eps)


def vector(x: Array) -> Array:
    """[C] → [1, C], float32."""
    return x.astype(jnp.float32)[None]


def block_tokens(tokens: int, most: int) -> int | None:
    """Tokens of a block: all if they are few, else the most that divide them; None if too few do.

    Blocks are whole registers of 8 rows, or 16 where an image has several blocks.
    """
    if tokens <= most:
        return tokens if tokens % 8 == 0 else None
    divisors = (each for each in range(most - most % 16, LANES - 1, -16) if tokens % each == 0)
    return next(divisors, None)
