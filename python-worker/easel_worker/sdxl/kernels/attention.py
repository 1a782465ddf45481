"""Attention that keeps whole rows of scores in the TPU's vector memory.

SDXL has few enough keys (4096 in the UNet, 16384 in the VAE) for a block of queries to hold its
scores with all of them at once, so the kernel needs no running softmax. Arrays stay
[B, tokens, channels], the layout of the linear layers around them: no transposes to heads, and no
padding of 64 channels to 128 lanes in memory.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from easel_worker.sdxl.kernels.chip import LANES, MEMORY, block_tokens

PAIRED_HEAD = LANES // 2
"""Channels of a head when two heads share the lanes."""

_SCORES = 2**21
"""Maximum number of scores of a block of queries: 8 MiB of float32."""
_MOST_QUERIES = 1024


def fits(query: Array, key: Array, heads: int) -> bool:
    """Whether `attend` supports these arrays."""
    channels = query.shape[-1]
    paired = channels == heads * PAIRED_HEAD and heads % 2 == 0
    single = heads == 1 and channels % LANES == 0
    return query.dtype == jnp.bfloat16 and (paired or single) and _queries(query, key) is not None


def attend(query: Array, key: Array, value: Array, heads: int, *, interpret: bool = False) -> Array:
    """Scaled dot-product attention with a float32 softmax, for arrays that `fits` accepts.

    Args:
        query: [B, tokens, channels], bfloat16: an even number of heads of 64 channels, or one head
            with a multiple of 128 channels.
        key: [B, kv tokens, channels].
        value: like key.
        heads: number of heads.
        interpret: interpret the kernel on a CPU.

    Returns:
        [B, tokens, channels].
    """
    batch, tokens, channels = query.shape
    width = LANES if heads > 1 else channels
    rows = _queries(query, key)
    if rows is None:
        raise ValueError(f"no block divides {tokens} queries: see fits")
    block = pl.BlockSpec((1, rows, width), lambda b, h, i: (b, i, h))
    whole = pl.BlockSpec((1, key.shape[1], width), lambda b, h, i: (b, 0, h))
    call = pl.pallas_call(
        _pair if heads > 1 else _single,
        grid=(batch, channels // width, tokens // rows),
        in_specs=[block, whole, whole],
        out_specs=block,
        out_shape=jax.typeof(query),
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary"), vmem_limit_bytes=MEMORY
        ),
        cost_estimate=_cost(query, key, heads),
        interpret=interpret,
        name=f"attention_{tokens}x{key.shape[1]}x{heads}",
    )
    attended: Array = call(query, key, value)
    return attended


def _queries(query: Array, key: Array) -> int | None:
    """Number of queries in a block; None if none fits."""
    most = min(_MOST_QUERIES, max(_SCORES // key.shape[1], LANES))
    return block_tokens(query.shape[1], most)


def _pair(query: Array, key: Array, value: Array, out: Array) -> None:
    out[0] = pair(query[0], key[0], value[0])


def pair(query: Array, key: Array, value: Array) -> Array:
    """Two heads of 64 channels, side by side in the lanes.

    Each head multiplies all lanes, with the other head's queries and keys set to zero: the MXU
    would pad 64 to 128 anyway. Both are set, because zero times infinity is no number, and one
    head's overflow must not reach the other. Lanes without values hold ones, so that P·V also sums
    P.

    Args:
        query: [queries, 128].
        key: [keys, 128].
        value: like key.

    Returns:
        [queries, 128], in the dtype of the query.
    """
    q, _ = _scaled(query, PAIRED_HEAD)
    first, first_key = _first_lanes(q.shape), _first_lanes(key.shape)
    zero, zero_key, one = jnp.zeros_like(q), jnp.zeros_like(key), jnp.ones_like(value)
    left = _product(
        jnp.where(first, q, zero),
        jnp.where(first_key, key, zero_key),
        jnp.where(first_key, value, one),
    )
    right = _product(
        jnp.where(first, zero, q),
        jnp.where(first_key, zero_key, key),
        jnp.where(first_key, one, value),
    )
    sums = pltpu.roll(jnp.where(first, right, left), PAIRED_HEAD, 1)
    attended: Array = (jnp.where(first, left, right) / sums).astype(query.dtype)
    return attended


def _single(query: Array, key: Array, value: Array, out: Array) -> None:
    """One head that fills all lanes."""
    q, rest = _scaled(query[0], query.shape[-1])
    weights = _weights(q, key[0], rest)
    product = jnp.dot(weights.astype(q.dtype), value[0], preferred_element_type=jnp.float32)
    out[0] = (product / jnp.sum(weights, axis=-1, keepdims=True)).astype(out.dtype)


def _scaled(query: Array, channels: int) -> tuple[Array, float]:
    """The query times the nearest power of two, which does not round, and what is left to apply.

    64 channels leave nothing: the factor is 1.
    """
    power = 2.0 ** round(-math.log2(channels) / 2)
    scaled: Array = query * jnp.asarray(power, query.dtype)
    return scaled, 1 / math.sqrt(channels) / power


def _first_lanes(shape: tuple[int, ...]) -> Array:
    first: Array = lax.broadcasted_iota(jnp.int32, shape, 1) < PAIRED_HEAD
    return first


def _weights(query: Array, key: Array, scale: float = 1.0) -> Array:
    """Unnormalised weights [queries, keys], float32. The scores are multiplied by `scale`."""
    by_channel = (((1,), (1,)), ((), ()))
    scores = lax.dot_general(query, key, by_channel, preferred_element_type=jnp.float32)
    if scale != 1:
        scores = scores * scale
    return jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))


def _product(query: Array, key: Array, value: Array) -> Array:
    weights = _weights(query, key).astype(value.dtype)
    return jnp.dot(weights, value, preferred_element_type=jnp.float32)


def _cost(query: Array, key: Array, heads: int) -> pl.CostEstimate:
    """Work of the MXU, which pads 64 channels to 128."""
    batch, tokens, channels = query.shape
    keys, lanes = key.shape[1], heads * max(channels // heads, LANES)
    moved = query.dtype.itemsize * batch * channels * (2 * tokens + 2 * keys)
    return pl.CostEstimate(
        flops=4 * batch * tokens * keys * lanes,
        transcendentals=batch * heads * tokens * keys,
        bytes_accessed=moved,
    )
