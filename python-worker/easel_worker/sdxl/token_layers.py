"""The linear layers that a transformer's tokens go through, with the norm before or the sum after.

A TPU does what belongs together in one go where the layers are quantised (`int8`).
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl import int8, layers
from easel_worker.sdxl.kernels import int8_feed_forward, int8_linear
from easel_worker.sdxl.methods import PLAIN, Methods
from easel_worker.sdxl.params import Params


def normed(
    norm: Params, linears: Sequence[Params], x: Array, *, eps: float, methods: Methods = PLAIN
) -> list[Array]:
    """Each linear layer's output for layer_norm(x).

    Args:
        norm: parameters of the norm.
        linears: of the layers.
        x: [B, tokens, in].
        eps: of the norm.
        methods: how.

    Returns:
        [B, tokens, out] for each layer.
    """
    if _by_kernel(linears, methods) and int8_linear.fits(x, linears):
        interpret = methods.interpret
        return int8_linear.project(x, linears, norm=norm, eps=eps, interpret=interpret)
    normal = layers.layer_norm(norm, x, eps=eps, methods=methods)
    return [layers.linear(each, normal) for each in linears]


def added(linear: Params, x: Array, residual: Array, methods: Methods = PLAIN) -> Array:
    """residual + linear(x), both [B, tokens, out], for x [B, tokens, in]."""
    if _by_kernel([linear], methods) and int8_linear.fits(x, [linear]):
        interpret = methods.interpret
        [y] = int8_linear.project(x, [linear], residual=residual, interpret=interpret)
        return y
    return residual + layers.linear(linear, x)


def feed_forward(block: Params, x: Array, *, eps: float, methods: Methods = PLAIN) -> Array:
    """x + feed-forward layer of layer_norm(x), whose first half the second's GELU gates.

    Args:
        block: parameters `norm3`, `ff_in` and `ff_out`.
        x: [B, tokens, C].
        eps: of the norm.
        methods: how.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/activations.py#L93
    """
    inner, outer = block["ff_in"], block["ff_out"]
    if _by_kernel([inner, outer], methods) and int8_feed_forward.fits(x, block):
        return int8_feed_forward.feed_forward(x, block, eps=eps, interpret=methods.interpret)
    [both] = normed(block["norm3"], [inner], x, eps=eps, methods=methods)
    value, gate = jnp.split(both, 2, axis=-1)
    gelu = int8_feed_forward.gelu if int8.is_int8(inner) else layers.gelu
    return added(outer, value * gelu(gate), x, methods)


def _by_kernel(linears: Sequence[Params], methods: Methods) -> bool:
    return methods.linear_kernel and all(int8.is_int8(each) for each in linears)
