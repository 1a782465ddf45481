"""8-bit linear layers that share an input, fused with the layer norm and the residual sum."""

from collections.abc import Sequence
from functools import partial

import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl

from easel_worker.sdxl.kernels import chip, integers
from easel_worker.sdxl.kernels.integers import Norm, Quantised


def fits(x: Array, layers: Sequence[Quantised]) -> bool:
    """Whether `project` supports these arrays."""
    return integers.fits(x, tuple(layer.int8.shape[1] for layer in layers))


def project(
    x: Array,
    layers: Sequence[Quantised],
    *,
    norm: Norm | None = None,
    residual: Array | None = None,
    interpret: bool = False,
) -> list[Array]:
    """The outputs of layers for x, or for norm(x) if there is a norm.

    Args:
        x: [..., in], bfloat16; the number of tokens and the channels are multiples of 128.
        layers: layers that were quantised together and share one gain.
        norm: norm of the tokens, or None.
        residual: added to the output [..., out] of a single layer, or None.
        interpret: interpret the kernel on a CPU.

    Returns:
        [..., out] for each layer, bfloat16.
    """
    channels = x.shape[-1]
    tokens = x.size // channels
    vectors = [chip.vector(layers[0].gain)]
    if norm is not None:
        vectors += integers.norm_vectors(norm)
    weights = [layer.int8 for layer in layers]
    steps = [chip.vector(layer.step) for layer in layers]
    outputs = [weight.shape[1] for weight in weights]
    zero = [jnp.zeros(each, jnp.float32) for each in outputs]
    biases = [
        chip.vector(none if layer.bias is None else layer.bias)
        for layer, none in zip(layers, zero, strict=True)
    ]
    added = [] if residual is None else [residual.reshape(tokens, -1)]
    whole = [*vectors, *weights, *steps, *biases]
    kinds = ("int8", *(["norm"] if norm is not None else []), *(["add"] if added else []))
    call = pl.pallas_call(
        partial(_kernel, count=len(layers), eps=None if norm is None else norm.eps),
        grid=(tokens // integers.TOKENS,),
        in_specs=[
            integers.tokens_spec(channels),
            *(integers.whole_spec(each) for each in whole),
            *(integers.tokens_spec(outputs[0]) for _ in added),
        ],
        out_specs=[integers.tokens_spec(each) for each in outputs],
        out_shape=[chip.like(x, (tokens, each)) for each in outputs],
        compiler_params=integers.compiler_params(),
        cost_estimate=_cost(tokens, channels, outputs, residual),
        interpret=interpret,
        name="_".join((*kinds, f"{tokens}x{channels}x{'x'.join(map(str, outputs))}")),
    )
    results: list[Array] = call(x.reshape(tokens, channels), *whole, *added)
    return [result.reshape(*x.shape[:-1], -1) for result in results]


def _kernel(x: Array, gain: Array, *rest: Array, count: int, eps: float | None) -> None:
    size = 0 if eps is None else 2
    vectors, rest = rest[:size], rest[size:]
    weights, steps, biases = (rest[i * count : (i + 1) * count] for i in range(3))
    *added, first = rest[3 * count : len(rest) - count + 1]
    outs = (first, *rest[len(rest) - count + 1 :])
    values = x[...].astype(jnp.float32)
    if eps is not None:
        weight, bias = vectors
        values = integers.normalised(values, weight[...], bias[...], gain[...], eps)
    else:
        values *= gain[...]
    rounded = integers.to_int8(values)
    for layer, step, shift, out in zip(weights, steps, biases, outs, strict=True):
        y = integers.product(rounded, layer[...], step[...]) + shift[...]
        for more in added:
            y += more[...].astype(jnp.float32)
        out[...] = y.astype(out.dtype)


def _cost(
    tokens: int, channels: int, outputs: Sequence[int], residual: Array | None
) -> pl.CostEstimate:
    written = 2 * tokens * sum(outputs)
    weights = channels * sum(outputs)
    return pl.CostEstimate(
        flops=2 * tokens * weights,
        transcendentals=0,
        bytes_accessed=2 * tokens * channels + weights + written * (1 if residual is None else 2),
    )
