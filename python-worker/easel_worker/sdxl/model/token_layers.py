"""A transformer's linear layers with the norm before them or the residual sum after them.

Kernels fuse these where the layers are quantised (`int8`) and the kernel options say so.
"""

from collections.abc import Sequence
from typing import TypeGuard

import jax.numpy as jnp
from jax import Array, lax

from easel_worker.sdxl.kernels import int8_feed_forward, int8_linear
from easel_worker.sdxl.model import layers
from easel_worker.sdxl.model.int8 import AnyLinear, Int8Linear
from easel_worker.sdxl.model.layers import LayerNorm, Linear


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
    if norm.kernel_options.fitted_gelu and x.dtype == jnp.bfloat16 and isinstance(inner, Linear):
        return added(outer, _gated(inner, norm(x)), x)
    [both] = normed(norm, [inner], x)
    value, gate = jnp.split(both, 2, axis=-1)
    gelu = int8_feed_forward.gelu if isinstance(inner, Int8Linear) else layers.gelu
    return added(outer, value * gelu(gate), x)


def _gated(inner: Linear, normal: Array) -> Array:
    """value · gelu(gate), by one product for each and a fitted GELU.

    The barrier keeps XLA from computing it inside the product that follows, which would then be
    bound by the issue of its instructions. These products have time for it.
    """
    weights = jnp.split(inner.weight, 2, axis=-1)
    biases = [None, None] if inner.bias is None else jnp.split(inner.bias, 2)
    value, gate = (Linear(*half)(normal) for half in zip(weights, biases, strict=True))
    gated: Array = lax.optimization_barrier(  # type: ignore[no-untyped-call]
        value * layers.fitted_gelu(gate)
    )
    return gated


def _by_kernel(linears: Sequence[AnyLinear]) -> TypeGuard[Sequence[Int8Linear]]:
    return all(
        isinstance(each, Int8Linear) and each.kernel_options.linear_kernel for each in linears
    )
