"""Nearest-neighbour upsampling and a 3×3 convolution, without the upsampled image.

Each pixel has become four equal ones, so of the nine taps that make a pixel of the result several
fall on the same pixel of the input. Their weights are added up beforehand, which leaves 2×2 taps
for each of the four places that a new pixel has within its old one: 16 products instead of 36.
The sums of weights are rounded to the weights' dtype, which the plain way does not do.
"""

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from easel_worker.sdxl.kernels import chip, convolution
from easel_worker.sdxl.kernels import rows as by_rows

_TAPS = 16
_FEWEST_PIXELS = 8192
"""With fewer in the input, adding up the weights takes longer than it saves."""


def fits(x: Array, weight: Array) -> bool:
    """Whether `convolve_upsampled` takes these arrays, and it pays."""
    batch, height, width, _ = x.shape
    return convolution.fits(x, weight) and batch * height * width >= _FEWEST_PIXELS


def convolve_upsampled(x: Array, weight: Array, bias: Array, *, interpret: bool = False) -> Array:
    """Twice as high and wide, then a convolution with a border of zeros.

    Args:
        x: [B, H, W, in], as `convolution.convolve` takes it.
        weight: [3, 3, in, out].
        bias: [out].
        interpret: compute it on a CPU.

    Returns:
        [B, 2H, 2W, out], summed in float32.
    """
    batch, height, width, _ = x.shape
    outputs = weight.shape[-1]
    rows = by_rows.block_rows(height, width, outputs)
    summed = sum_weights(weight)
    call = pl.pallas_call(
        _kernel,
        grid=(batch, height // rows),
        in_specs=[
            *by_rows.image_specs(x.shape, rows),
            pl.BlockSpec(summed.shape, lambda b, i: (0, 0, 0, 0, 0, 0)),
            pl.BlockSpec((1, outputs), lambda b, i: (0, 0)),
        ],
        out_specs=pl.BlockSpec((1, rows, 2, 2 * width, outputs), lambda b, i: (b, i, 0, 0, 0)),
        out_shape=chip.like(x, (batch, height, 2, 2 * width, outputs)),
        compiler_params=by_rows.compiler_params(),
        cost_estimate=by_rows.cost(x, outputs, _TAPS, batch * height * width),
        interpret=interpret,
        name=f"upsample_{height}x{width}x{x.shape[-1]}x{outputs}",
    )
    doubled: Array = call(x, x, x, summed, bias.astype(jnp.float32)[None])
    return doubled.reshape(batch, 2 * height, 2 * width, outputs)


def sum_weights(weight: Array) -> Array:
    """A filter [3, 3, in, out] as [2, 2, 2, 2, in, out] on the image before upsampling.

    The indices are: the new pixel's row within the old pixel, the tap's row, and both for columns.
    Tap 0 of row 0 is on the pixel above, tap 1 on the old pixel; of row 1, on the old pixel and on
    the one below.
    """
    exact = weight.astype(jnp.float32)
    rows = _places(exact)
    columns = _places(rows.transpose(2, 0, 1, 3, 4))
    # [column's place, its tap, row's place, its tap, in, out] until here
    return columns.transpose(2, 3, 0, 1, 4, 5).astype(weight.dtype)


def _places(weight: Array) -> Array:
    """A filter [3, ...] as the taps of the first and of the second new pixel, [2, 2, ...]."""
    first, second, third = weight
    return jnp.stack([jnp.stack([first, second + third]), jnp.stack([first + second, third])])


def _kernel(above: Array, here: Array, below: Array, *rest: Array) -> None:
    weight, bias, out = rest
    rows, width, outputs = here.shape[1], here.shape[2], out.shape[-1]
    x = by_rows.with_neighbours(above[0], here[0], below[0])

    def column(row: int, place: int, tap: int) -> Array:
        """What one column of a place's taps adds: [rows · width, out]."""
        total = jnp.zeros((rows * width, outputs), jnp.float32)
        for i in range(2):
            pixels = x[row + i : row + i + rows].reshape(rows * width, -1)
            weights = weight[row, i, place, tap]
            total += jnp.dot(pixels, weights, preferred_element_type=jnp.float32)
        return total

    for row in range(2):
        left = by_rows.from_left(column(row, 0, 0), width) + column(row, 0, 1) + bias[0]
        right = column(row, 1, 0) + by_rows.from_right(column(row, 1, 1), width) + bias[0]
        pair = _interleave(left, right)
        out[0, :, row] = pair.reshape(rows, 2 * width, outputs)


def _interleave(even: Array, odd: Array) -> Array:
    """float32 [n, C] twice → bfloat16 [2n, C], taking turns.

    Two rows of bfloat16 share a word in the TPU's registers, so this is no more than packing.
    """
    low, high = (
        lax.bitcast_convert_type(each.astype(jnp.bfloat16).astype(jnp.float32), jnp.uint32)
        for each in (even, odd)
    )
    packed: Array = pltpu.bitcast(high | (low >> 16), jnp.bfloat16)
    return packed
