"""3×3 convolution fused with the norm and silu of its input: conv(silu(x · scale + shift)).

XLA splits a convolution of few large images into many small ones, with copies, padding and halos.
This kernel processes an image in blocks of rows. It reads the rows above and below with each block.
For the neighbours to the left and right, it multiplies the same aligned input by the three columns
of the filter and shifts two of the sums by one pixel.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl

from easel_worker.sdxl.kernels import chip
from easel_worker.sdxl.kernels import rows as by_rows

_FILTER = 3
_MOST_PADDING = 1.25
"""Maximum ratio of padded input channels to input channels."""


def fits(x: Array, weight: Array) -> bool:
    """Whether `convolve` supports these arrays."""
    inputs = x.shape[-1]
    filled = by_rows.padded(inputs) <= _MOST_PADDING * inputs
    whole = x.shape[2] % by_rows.SUBLANES == 0 and weight.shape[:2] == (_FILTER, _FILTER)
    return x.dtype == jnp.bfloat16 and filled and whole


def convolve(
    x: Array,
    weight: Array,
    bias: Array,
    affine: tuple[Array, Array] | None,
    *,
    interpret: bool = False,
) -> Array:
    """Zero-padded convolution of stride 1, for arrays that `fits` accepts.

    Args:
        x: [B, H, W, in], bfloat16; W is a multiple of 16, and channels fill most of their lanes.
        weight: [3, 3, in, out].
        bias: [out] or [B, out], added at the end.
        affine: scale and shift of the input before its silu, float32 [B, in] each; None to use the
            input unchanged.
        interpret: interpret the kernel on a CPU.

    Returns:
        [B, H, W, out], summed in float32.
    """
    batch, height, width, inputs = x.shape
    outputs = weight.shape[-1]
    rows = by_rows.block_rows(height, width, outputs)
    scales = [] if affine is None else [each[:, None, :] for each in affine]
    biases = jnp.broadcast_to(bias.astype(jnp.float32), (batch, outputs))[:, None, :]
    call = pl.pallas_call(
        partial(_kernel, normalise=affine is not None),
        grid=(batch, height // rows),
        in_specs=[
            *by_rows.image_specs(x.shape, rows),
            pl.BlockSpec(weight.shape, lambda b, i: (0, 0, 0, 0)),
            pl.BlockSpec((1, 1, outputs), lambda b, i: (b, 0, 0)),
            *(pl.BlockSpec((1, 1, inputs), lambda b, i: (b, 0, 0)) for _ in scales),
        ],
        out_specs=pl.BlockSpec((1, rows, width, outputs), lambda b, i: (b, i, 0, 0)),
        out_shape=chip.like(x, (batch, height, width, outputs)),
        compiler_params=by_rows.compiler_params(),
        cost_estimate=by_rows.cost(x, outputs, _FILTER**2, batch * height * width),
        interpret=interpret,
        name=f"conv_{height}x{width}x{inputs}x{outputs}",
    )
    convolved: Array = call(x, x, x, weight, biases, *scales)
    return convolved


def _kernel(
    above: Array,
    here: Array,
    below: Array,
    weight: Array,
    bias: Array,
    *rest: Array,
    normalise: bool,
) -> None:
    *scales, out = rest
    _, rows, width, outputs = out.shape

    def prepared(ref: Array) -> Array:
        x = ref[0]
        if not normalise:
            return x
        scale, shift = scales
        y = x.astype(jnp.float32) * scale[0] + shift[0]
        return (y * jax.nn.sigmoid(y)).astype(x.dtype)

    x = by_rows.with_neighbours(prepared(above), prepared(here), prepared(below))

    def column(j: int) -> Array:
        """Contribution of the filter's column j to its centre pixel: [rows · width, out]."""
        total = jnp.zeros((rows * width, outputs), jnp.float32)
        for i in range(_FILTER):
            pixels = x[i : i + rows].reshape(rows * width, -1)
            total += jnp.dot(pixels, weight[i, j], preferred_element_type=jnp.float32)
        return total

    y = by_rows.from_left(column(0), width) + column(1) + by_rows.from_right(column(2), width)
    out[0] = (y + bias[0]).reshape(rows, width, outputs).astype(out.dtype)
