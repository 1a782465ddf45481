"""Helpers of the convolution kernels, which process an image in blocks of rows.

An image is [B, H, W, C]: its channels are in the TPU's lanes and its columns in the sublanes.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from easel_worker.sdxl.kernels import chip

SUBLANES = 16
"""Sublanes of a register of bfloat16."""

INT8_SUBLANES = 32
"""Sublanes of a register of int8."""

_MOST_SUMS = 2**20
"""Maximum number of float32 sums of a block for one filter column: 4 MiB."""


def padded(channels: int) -> int:
    """The number of channels, rounded up to whole lanes."""
    return -(-channels // chip.LANES) * chip.LANES


def block_rows(height: int, width: int, outputs: int) -> int:
    """Rows of a block: the most that divide the height and keep the sums within the limit."""
    most = max(_MOST_SUMS // (width * padded(outputs)), 1)
    return max(rows for rows in range(1, min(most, height) + 1) if height % rows == 0)


def image_specs(shape: tuple[int, ...], rows: int) -> list[pl.BlockSpec]:
    """Specs for an image [B, H, W, C] passed three times: row above, `rows` rows, row below."""
    _, height, width, channels = shape

    def above(b: int, i: int) -> tuple[int | Array, ...]:
        return b, jnp.maximum(i * rows - 1, 0), 0, 0

    def below(b: int, i: int) -> tuple[int | Array, ...]:
        return b, jnp.minimum((i + 1) * rows, height - 1), 0, 0

    return [
        pl.BlockSpec((1, 1, width, channels), above),
        pl.BlockSpec((1, rows, width, channels), lambda b, i: (b, i, 0, 0)),
        pl.BlockSpec((1, 1, width, channels), below),
    ]


def with_neighbours(above: Array, here: Array, below: Array) -> Array:
    """Concatenate a block with its neighbour rows: [1, W, C], [rows, W, C], [1, W, C].

    Neighbours outside the image are zeros.
    """
    block, blocks = pl.program_id(1), pl.num_programs(1)
    top = jnp.where(block == 0, jnp.zeros_like(above), above)
    bottom = jnp.where(block == blocks - 1, jnp.zeros_like(below), below)
    return jnp.concatenate([top, here, bottom])


def from_left(sums: Array, width: int) -> Array:
    """Shift sums [rows · width, C] one pixel to the right, filling with zeros."""
    return _unless(_column(sums, width) == 0, pltpu.roll(sums, 1, 0))


def from_right(sums: Array, width: int) -> Array:
    """Shift sums [rows · width, C] one pixel to the left, filling with zeros."""
    moved = pltpu.roll(sums, sums.shape[0] - 1, 0)
    return _unless(_column(sums, width) == width - 1, moved)


def _unless(outside: Array, sums: Array) -> Array:
    return jnp.where(outside, jnp.zeros((), sums.dtype), sums)


def _column(sums: Array, width: int) -> Array:
    column: Array = lax.rem(lax.broadcasted_iota(jnp.int32, sums.shape, 0), width)
    return column


def moments(x: Array) -> Array:
    """The mean and the variance of each channel of a block: x [pixels, C] → [2, C], float32.

    One pass over x minus its first pixel, so that a mean far above the spread costs no digits.
    """
    wide = x.astype(jnp.float32)
    pivot = wide[:1]
    centred = wide - pivot
    mean = jnp.mean(centred, axis=0, keepdims=True)
    square = jnp.mean(jnp.square(centred), axis=0, keepdims=True)
    return jnp.concatenate([pivot + mean, jnp.maximum(square - jnp.square(mean), 0.0)])


def moments_spec(channels: int, parts: int = 1) -> pl.BlockSpec:
    """The moments of a block's parts, in `moments_shape`."""
    return pl.BlockSpec((1, parts, 2, channels), lambda b, i: (b, i, 0, 0))


def moments_shape(batch: int, parts: int, channels: int) -> jax.ShapeDtypeStruct:
    """What `moments` returns for each part of each image."""
    shape = (batch, parts, 2, channels)
    return jax.ShapeDtypeStruct(shape, jnp.float32)  # type: ignore[no-untyped-call]


def compiler_params() -> pltpu.CompilerParams:
    """Parameters that allow images and their blocks in any order."""
    return pltpu.CompilerParams(
        dimension_semantics=("parallel", "parallel"), vmem_limit_bytes=chip.MEMORY
    )


def cost(x: Array, outputs: int, taps: int, pixels: int) -> pl.CostEstimate:
    """Work of the MXU, which pads channels to whole lanes.

    Args:
        x: the input image.
        outputs: channels of the output image.
        taps: products per output pixel.
        pixels: pixels of the output image.
    """
    inputs, weights = x.shape[-1], taps * x.shape[-1] * outputs
    return pl.CostEstimate(
        flops=2 * taps * pixels * padded(inputs) * padded(outputs),
        transcendentals=x.size,
        bytes_accessed=x.dtype.itemsize * (x.size + pixels * outputs + weights),
    )
