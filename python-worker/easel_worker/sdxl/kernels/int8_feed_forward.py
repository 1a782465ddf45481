"""A transformer's whole gated feed-forward layer in 8 bits, in one kernel."""

import math
from functools import partial

import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl

from easel_worker.sdxl.kernels import chip, integers
from easel_worker.sdxl.kernels.integers import Norm, Quantised

_MOST_WEIGHTS = 40 * 2**20
"""Maximum bytes of both layers. The compiler keeps two copies of them in vector memory."""


def fits(x: Array, outer: Quantised) -> bool:
    """Whether `feed_forward` supports these tokens and the layer back to C."""
    hidden, channels = outer.int8.shape
    return integers.fits(x, (hidden, channels)) and 3 * hidden * channels <= _MOST_WEIGHTS


def gelu(x: Array) -> Array:
    """GELU by tanh. It differs from the exact one by 5e-4, less than the rounding to 8 bits."""
    slope = math.sqrt(2.0 / math.pi)
    return 0.5 * x * (1.0 + jnp.tanh(x * (slope + 0.044715 * slope * x * x)))


def feed_forward(
    x: Array, norm: Norm, inner: Quantised, outer: Quantised, *, interpret: bool = False
) -> Array:
    """x + outer(value · gelu(gate)), with value and gate from inner(norm(x)).

    Args:
        x: [..., C], bfloat16; the number of tokens and C are multiples of 128.
        norm: norm of the tokens.
        inner: from C to value and gate, concatenated; with a bias.
        outer: from value's channels to C; with a bias.
        interpret: interpret the kernel on a CPU.

    Returns:
        [..., C], bfloat16.
    """
    channels = x.shape[-1]
    tokens = x.size // channels
    whole = [
        chip.vector(inner.gain),
        *integers.norm_vectors(norm),
        inner.int8,
        chip.vector(inner.step),
        _bias(inner),
        chip.vector(outer.gain),
        outer.int8,
        chip.vector(outer.step),
        _bias(outer),
    ]
    hidden = outer.int8.shape[0]
    weights = 3 * hidden * channels
    call = pl.pallas_call(
        partial(_kernel, eps=norm.eps),
        grid=(tokens // integers.TOKENS,),
        in_specs=[integers.tokens_spec(channels), *(integers.whole_spec(each) for each in whole)],
        out_specs=integers.tokens_spec(channels),
        out_shape=chip.like(x, (tokens, channels)),
        compiler_params=integers.compiler_params(),
        cost_estimate=pl.CostEstimate(
            flops=2 * tokens * weights,
            transcendentals=tokens * hidden,
            bytes_accessed=4 * tokens * channels + weights,
        ),
        interpret=interpret,
        name=f"int8_feed_forward_{tokens}x{channels}x{hidden}",
    )
    out: Array = call(x.reshape(tokens, channels), *whole)
    return out.reshape(x.shape)


def _bias(linear: Quantised) -> Array:
    if linear.bias is None:
        raise ValueError("this feed-forward layer has no bias: the kernel needs one")
    return chip.vector(linear.bias)


def _kernel(x: Array, gain: Array, *rest: Array, eps: float) -> None:
    norm_weight, norm_bias, *rest_of_all = rest
    inner, inner_step, inner_bias, outer_gain, outer, outer_step, outer_bias, out = rest_of_all
    hidden = outer.shape[0]
    values = x[...].astype(jnp.float32)
    normal = integers.normalised(values, norm_weight[...], norm_bias[...], gain[...], eps)
    rounded = integers.to_int8(normal)

    def half(columns: slice) -> Array:
        step, bias = inner_step[:, columns], inner_bias[:, columns]
        return integers.product(rounded, inner[:, columns], step) + bias

    value, gate = half(slice(hidden)), half(slice(hidden, 2 * hidden))
    gated = integers.to_int8(value * gelu(gate) * outer_gain[...])
    y = integers.product(gated, outer[...], outer_step[...]) + outer_bias[...]
    out[...] = (values + y).astype(out.dtype)
