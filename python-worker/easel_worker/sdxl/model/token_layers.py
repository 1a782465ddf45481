"""A transformer's linear layers with the norm before them or the residual sum after them.

Kernels fuse these where the layers are quantised (`int8`) and the kernel options say so.
"""

from collections.abc import Callable, Sequence
from typing import TypeGuard

import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl.kernels import int8_feed_forward, int8_linear
from easel_worker.sdxl.model import layers
from easel_worker.sdxl.model.int8 import AnyLinear, Int8Linear
from easel_worker.sdxl.model.layers import LayerNorm


def normed(norm: LayerNorm, linears: Sequence[AnyLinear], x: Array) -> list[Array]:
    """The outputs of linear layers for norm(x).

    Args:
        norm: norm of the tokens.
        linears: layers that share one gain if they are quantised.
        x: [B, tokens, in].

    Returns:
        [B, tokens, out] for each layer.
    """
    if _by_kernel(linears) and int8_linear.fits(x, linears):
        interpret = linears[0].kernel_options.interpret
        return int8_linear.project(x, linears, norm=norm, interpret=interpret)
    normal = norm(x)
    return [linear(normal) for linear in linears]


def added(linear: AnyLinear, x: Array, residual: Array) -> Array:
    """residual + linear(x), both [B, tokens, out], for x [B, tokens, in]."""
    linears = [linear]
    if _by_kernel(linears) and int8_linear.fits(x, linears):
        interpret = linears[0].kernel_options.interpret
        [y] = int8_linear.project(x, linears, residual=residual, interpret=interpret)
        return y
    return residual + linear(x)


def feed_forward(norm: LayerNorm, inner: AnyLinear, outer: AnyLinear, x: Array) -> Array:
    """x + outer(value · gelu(gate)), with value and gate from inner(norm(x)).

    Args:
        norm: norm of the tokens.
        inner: from C channels to value and gate, concatenated.
        outer: from the channels of `value` to C.
        x: [B, tokens, C].

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/activations.py#L93
    """
    linears = [inner, outer]
    if _by_kernel(linears) and int8_feed_forward.fits(x, linears[1]):
        interpret = linears[0].kernel_options.interpret
        return int8_feed_forward.feed_forward(x, norm, *linears, interpret=interpret)
    [both] = normed(norm, [inner], x)
    value, gate = jnp.split(both, 2, axis=-1)
    return added(outer, value * _gelu(norm, inner, x)(gate), x)


def _gelu(norm: LayerNorm, inner: AnyLinear, x: Array) -> Callable[[Array], Array]:
    """The exact one, unless quantising or bfloat16 rounds more than another is off."""
    if isinstance(inner, Int8Linear):
        return int8_feed_forward.gelu
    fitted = norm.kernel_options.fitted_gelu and x.dtype == jnp.bfloat16
    return layers.fitted_gelu if fitted else layers.gelu


def _by_kernel(linears: Sequence[AnyLinear]) -> TypeGuard[Sequence[Int8Linear]]:
    return all(
        isinstance(each, Int8Linear) and each.kernel_options.linear_kernel for each in linears
    )
