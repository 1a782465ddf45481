"""3×3 convolution fused with the norm and silu of its input: conv(silu(x · scale + shift)).

XLA splits a convolution of few large images into many small ones, with copies, padding and halos.
This kernel processes an image in blocks of rows. It reads the rows above and below with each block.
For the neighbours to the left and right, it multiplies the same aligned input by the three columns
of the filter and shifts two of the sums by one pixel.

It can add another image to its result, and can measure what it writes, so that a norm of the result
need not read it again. It can round its input to 8 bits and multiply integers.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl

from easel_worker.sdxl.kernels import chip, integers, taps
from easel_worker.sdxl.kernels import rows as by_rows

_MOST_PADDING = 1.25
"""Maximum ratio of padded input channels to input channels."""


class Steps(NamedTuple):
    """Of int8 weights: the input's gain, [in], and the step of each output channel, [out]."""

    gain: Array
    step: Array


def fits(x: Array, weight: Array) -> bool:
    """Whether `convolve` supports these arrays."""
    inputs = x.shape[-1]
    sublanes = by_rows.INT8_SUBLANES if weight.dtype == jnp.int8 else by_rows.SUBLANES
    filled = by_rows.padded(inputs) <= _MOST_PADDING * inputs
    whole = x.shape[2] % sublanes == 0 and weight.shape[:2] == (taps.FILTER, taps.FILTER)
    return x.dtype == jnp.bfloat16 and filled and whole


def convolve(
    x: Array,
    weight: Array,
    bias: Array,
    affine: tuple[Array, Array] | None,
    *,
    steps: Steps | None = None,
    residual: Array | None = None,
    measure: bool = False,
    interpret: bool = False,
) -> list[Array]:
    """Zero-padded convolution of stride 1, for arrays that `fits` accepts.

    Args:
        x: [B, H, W, in], bfloat16; W is a multiple of 16, with int8 weights of 32, and channels
            fill most of their lanes.
        weight: [3, 3, in, out], bfloat16; or int8, with `steps` and `affine`.
        bias: [out] or [B, out], added at the end.
        affine: scale and shift of the input before its silu, float32 [B, in] each; None to use the
            input unchanged.
        steps: of int8 weights, else None.
        residual: added to the result, [B, H, W, out]; or None.
        measure: whether to return the result's moments too.
        interpret: interpret the kernel on a CPU.

    Returns:
        [B, H, W, out], summed in float32, of int8 in int32; and `rows.moments` of its blocks,
        [B, blocks, 2, out].
    """
    batch, height, width, inputs = x.shape
    outputs = weight.shape[-1]
    rows = by_rows.block_rows(height, width, outputs)
    scales = [] if affine is None else [each[:, None, :] for each in affine]
    rounding = [] if steps is None else [chip.vector(each) for each in steps]
    biases = jnp.broadcast_to(bias.astype(jnp.float32), (batch, outputs))[:, None, :]
    block = pl.BlockSpec((1, rows, width, outputs), lambda b, i: (b, i, 0, 0))
    added = [] if residual is None else [residual]
    call = pl.pallas_call(
        partial(_kernel, scales=len(scales), rounding=len(rounding), added=len(added)),
        grid=(batch, height // rows),
        in_specs=[
            *by_rows.image_specs(x.shape, rows),
            pl.BlockSpec(weight.shape, lambda b, i: (0, 0, 0, 0)),
            pl.BlockSpec((1, 1, outputs), lambda b, i: (b, 0, 0)),
            *(pl.BlockSpec((1, 1, inputs), lambda b, i: (b, 0, 0)) for _ in scales),
            *(pl.BlockSpec(each.shape, lambda b, i: (0, 0)) for each in rounding),
            *(block for _ in added),
        ],
        out_specs=[block, by_rows.moments_spec(outputs)][: 1 + measure],
        out_shape=[
            chip.like(x, (batch, height, width, outputs)),
            by_rows.moments_shape(batch, height // rows, outputs),
        ][: 1 + measure],
        compiler_params=by_rows.compiler_params(),
        cost_estimate=by_rows.cost(x, outputs, taps.FILTER**2, batch * height * width),
        interpret=interpret,
        name=f"{'int8_' if rounding else ''}conv_{height}x{width}x{inputs}x{outputs}",
    )
    convolved: list[Array] = call(x, x, x, weight, biases, *scales, *rounding, *added)
    return convolved


def _kernel(
    above: Array,
    here: Array,
    below: Array,
    weight: Array,
    bias: Array,
    *rest: Array,
    scales: int,
    rounding: int,
    added: int,
) -> None:
    affine, rest = rest[:scales], rest[scales:]
    steps, rest = rest[:rounding], rest[rounding:]
    more, (out, *moments) = rest[:added], rest[added:]
    _, rows, width, outputs = out.shape

    def prepared(ref: Array) -> Array:
        x = ref[0]
        if not affine:
            return x
        scale, shift = affine
        y = x.astype(jnp.float32) * scale[0] + shift[0]
        silu = y * jax.nn.sigmoid(y)
        if steps:
            gain, _ = steps
            return integers.to_int8(silu * gain[...])
        return silu.astype(x.dtype)

    x = by_rows.with_neighbours(prepared(above), prepared(here), prepared(below))

    y = taps.convolved(x, weight).astype(jnp.float32)
    if steps:
        _, step = steps
        y *= step[...]
    y += bias[0]
    for each in more:
        y += each[0].reshape(rows * width, outputs).astype(jnp.float32)
    stored = y.astype(out.dtype)
    out[0] = stored.reshape(rows, width, outputs)
    for each in moments:
        each[0, 0] = by_rows.moments(stored)
