"""What follows self attention, up to the feed-forward layer, in one kernel.

    y = x + own(attended)
    y + out(attention(query(norm(y)), keys, values))

The three linear layers are of bfloat16, or all quantised to 8 bits. These steps treat each token
alone, so a block of tokens stays in vector memory through all of them.
Attention to a prompt's few keys is bound by the issue of its instructions, and the products around
it by the matrix units: in one kernel they overlap.
"""

from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from easel_worker.sdxl.kernels import attention, chip, integers
from easel_worker.sdxl.kernels.integers import Norm, Quantised

_MOST_TOKENS = 512
_MOST_KEYS = 512
_MOST_CHANNELS = 1280
_MEMORY = 48 * 2**20
"""The rest of the vector memory holds the weights, which XLA copies there ahead of the kernel."""


class Plain(Protocol):
    """The fields of a bfloat16 layer that the kernel uses: weight [C, C] and bias [C]."""

    @property
    def weight(self) -> Array: ...

    @property
    def bias(self) -> Array | None: ...


class Layers(NamedTuple):
    """The layers of the formula above. `own` and `out` have biases, `query` has none."""

    own: Plain | Quantised
    norm: Norm
    query: Plain | Quantised
    out: Plain | Quantised


def fits(x: Array, key: Array, heads: int) -> bool:
    """Whether `attend` supports x [B, tokens, C] and keys [B, kv tokens, C]."""
    tokens, channels = x.shape[1:]
    paired = channels == heads * attention.PAIRED_HEAD and channels % chip.LANES == 0
    small = channels <= _MOST_CHANNELS and key.shape[1] <= _MOST_KEYS
    whole = chip.block_tokens(tokens, _MOST_TOKENS) is not None
    return x.dtype == jnp.bfloat16 and paired and small and whole


def attend(
    x: Array, attended: Array, layers: Layers, key: Array, value: Array, *, interpret: bool = False
) -> Array:
    """The formula above, for arrays that `fits` accepts. Sums and norm are float32.

    Args:
        x: [B, tokens, C], bfloat16.
        attended: the result of self attention, like x.
        layers: the linear layers and the norm.
        key: [B, kv tokens, C], of heads of 64 channels.
        value: like key.
        interpret: interpret the kernel on a CPU.

    Returns:
        [B, tokens, C].
    """
    batch, tokens, channels = x.shape
    rows = chip.block_tokens(tokens, _MOST_TOKENS)
    if rows is None:
        raise ValueError(f"no block divides {tokens} tokens: see fits")
    block = pl.BlockSpec((1, rows, channels), lambda b, i: (b, i, 0))
    prompt = pl.BlockSpec((1, key.shape[1], channels), lambda b, i: (b, 0, 0))
    vector = pl.BlockSpec((1, channels), lambda b, i: (0, 0))
    own, norm, query, out = layers
    products = [_operands(each, interpret=interpret) for each in (own, query, out)]
    vectors = [chip.vector(each) for each in (_bias(own), norm.weight, norm.bias, _bias(out))]
    call = pl.pallas_call(
        partial(_kernel, eps=norm.eps),
        grid=(batch, tokens // rows),
        in_specs=[
            *[block] * 2,
            *[prompt] * 2,
            *(spec for each in products for spec in _specs(each)),
            *[vector] * len(vectors),
        ],
        out_specs=block,
        out_shape=jax.typeof(x),
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel"), vmem_limit_bytes=_MEMORY
        ),
        cost_estimate=_cost(x, key),
        interpret=interpret,
        name=f"{'int8_' * (len(products[0]) > 1)}cross_attention_"
        f"{tokens}x{key.shape[1]}x{channels}",
    )
    result: Array = call(
        *(x, attended, key, value),
        *(each for operands in products for each in operands),
        *vectors,
    )
    return result


def _operands(layer: Plain | Quantised, *, interpret: bool) -> list[Array]:
    """The weight, and if it is quantised its gain and step."""
    if isinstance(layer, Quantised):
        weight = _near(layer.int8, interpret=interpret)
        return [weight, chip.vector(layer.gain), chip.vector(layer.step)]
    return [_near(layer.weight, interpret=interpret)]


def _specs(operands: list[Array]) -> list[pl.BlockSpec]:
    near = pl.BlockSpec(memory_space=pltpu.VMEM)
    return [near, *(pl.BlockSpec(each.shape, lambda b, i: (0, 0)) for each in operands[1:])]


def _near(weight: Array, *, interpret: bool) -> Array:
    """The weight in vector memory. Interpreted kernels know only one memory."""
    return weight if interpret else pltpu.with_memory_space_constraint(weight, pltpu.VMEM)


def _bias(layer: Plain | Quantised) -> Array:
    if layer.bias is None:
        raise ValueError("this layer has no bias: the kernel needs one")
    return layer.bias


def _kernel(x: Array, attended: Array, key: Array, value: Array, *rest: Array, eps: float) -> None:
    *operands, own_bias, norm_weight, norm_bias, out_bias, result = rest
    each = len(operands) // 3
    own, query, out = (operands[i * each : (i + 1) * each] for i in range(3))
    dtype = result.dtype
    # Rounded, as it is where other kernels store it.
    y = x[0].astype(jnp.float32) + _product(attended[0], own) + own_bias[...]
    y = y.astype(dtype).astype(jnp.float32)
    normal = chip.standardised(y, eps) * norm_weight[...] + norm_bias[...]
    queries = _product(normal, query).astype(dtype)
    heads = [
        attention.pair(queries[:, lanes], key[0, :, lanes], value[0, :, lanes])
        for lanes in map(_lanes, range(queries.shape[1] // chip.LANES))
    ]
    sums = _product(jnp.concatenate(heads, axis=-1), out)
    result[0] = (y + sums + out_bias[...]).astype(dtype)


def _lanes(pair: int) -> slice:
    return slice(pair * chip.LANES, (pair + 1) * chip.LANES)


def _product(x: Array, operands: list[Array]) -> Array:
    """x [tokens, C] times the weight of `_operands`, float32."""
    if len(operands) == 1:
        [weight] = operands
        dtype = weight.dtype
        return jnp.dot(x.astype(dtype), weight[...], preferred_element_type=jnp.float32)
    weight, gain, step = operands
    steps = integers.to_int8(x.astype(jnp.float32) * gain[...])
    return integers.product(steps, weight[...], step[...])


def _cost(x: Array, key: Array) -> pl.CostEstimate:
    """Work of the MXU, which pads a head's 64 channels to 128."""
    batch, tokens, channels = x.shape
    keys = -(-key.shape[1] // chip.LANES) * chip.LANES
    return pl.CostEstimate(
        flops=2 * batch * tokens * channels * (3 * channels + 4 * keys),
        transcendentals=batch * tokens * keys * channels // attention.PAIRED_HEAD,
        bytes_accessed=x.dtype.itemsize * (3 * x.size + 2 * key.size + 3 * channels**2),
    )
