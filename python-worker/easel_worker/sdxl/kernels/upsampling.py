"""Nearest-neighbour upsampling and a 3×3 convolution, without storing the upsampled image.

Upsampling repeats each pixel four times, so several of the nine taps of an output pixel read the
same input pixel. Adding their weights first leaves 2×2 taps for each of the four positions of an
output pixel within its input pixel: 16 products instead of 36. The summed weights are rounded to
the weights' dtype; plain JAX does not round there.
"""

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from easel_worker.sdxl.kernels import chip, convolution
from easel_worker.sdxl.kernels import rows as by_rows

_TAPS = 16
_FEWEST_PIXELS = 8192
"""With fewer input pixels, adding the weights takes longer than it saves."""


def fits(x: Array, weight: Array) -> bool:
    """Whether `convolve_upsampled` supports these arrays and saves time."""
    batch, height, width, _ = x.shape
    return convolution.fits(x, weight) and batch * height * width >= _FEWEST_PIXELS


def convolve_upsampled(
    x: Array, weight: Array, bias: Array, *, measure: bool = False, interpret: bool = False
) -> list[Array]:
    """Upsample by 2, then convolve with zero padding.

    Args:
        x: [B, H, W, in], see `convolution.convolve`.
        weight: [3, 3, in, out].
        bias: [out].
        measure: whether to return the result's moments too.
        interpret: interpret the kernel on a CPU.

    Returns:
        [B, 2H, 2W, out], summed in float32; and `rows.moments` of its parts, [B, parts, 2, out].
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
        out_specs=[
            pl.BlockSpec((1, rows, 2, 2 * width, outputs), lambda b, i: (b, i, 0, 0, 0)),
            by_rows.moments_spec(outputs, parts=2),
        ][: 1 + measure],
        out_shape=[
            chip.like(x, (batch, height, 2, 2 * width, outputs)),
            by_rows.moments_shape(batch, 2 * (height // rows), outputs),
        ][: 1 + measure],
        compiler_params=by_rows.compiler_params(),
        cost_estimate=by_rows.cost(x, outputs, _TAPS, batch * height * width),
        interpret=interpret,
        name=f"upsample_{height}x{width}x{x.shape[-1]}x{outputs}",
    )
    doubled, *moments = call(x, x, x, summed, bias.astype(jnp.float32)[None])
    return [doubled.reshape(batch, 2 * height, 2 * width, outputs), *moments]


def sum_weights(weight: Array) -> Array:
    """The filter [2, 2, 2, 2, in, out] on the input that equals [3, 3, in, out] after upsampling.

    The indices are the output pixel's row within its input pixel, the tap's row, then the same for
    columns. For row 0, tap 0 reads the input pixel above and tap 1 the input pixel itself; for row
    1, tap 0 reads the input pixel itself and tap 1 the one below.
    """
    exact = weight.astype(jnp.float32)
    rows = _places(exact)
    columns = _places(rows.transpose(2, 0, 1, 3, 4))
    # from [column, column's tap, row, row's tap, in, out]
    return columns.transpose(2, 3, 0, 1, 4, 5).astype(weight.dtype)


def _places(weight: Array) -> Array:
    """The taps [2, 2, ...] of the first and second output pixel, for a filter [3, ...]."""
    first, second, third = weight
    return jnp.stack([jnp.stack([first, second + third]), jnp.stack([first + second, third])])


def _kernel(above: Array, here: Array, below: Array, *rest: Array) -> None:
    weight, bias, out, *moments = rest
    rows, width, outputs = here.shape[1], here.shape[2], out.shape[-1]
    x = by_rows.with_neighbours(above[0], here[0], below[0])

    def column(row: int, place: int, tap: int) -> Array:
        """Contribution of one column of taps: [rows · width, out]."""
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
        for each in moments:
            each[0, row] = by_rows.moments(pair)


def _interleave(even: Array, odd: Array) -> Array:
    """Interleave the rows of two float32 arrays [n, C] → bfloat16 [2n, C].

    Two rows of bfloat16 share a word in the TPU's registers, so this only packs words.
    """
    low, high = (
        lax.bitcast_convert_type(each.astype(jnp.bfloat16).astype(jnp.float32), jnp.uint32)
        for each in (even, odd)
    )
    packed: Array = pltpu.bitcast(high | (low >> 16), jnp.bfloat16)
    return packed
