"""What the kernels of 8-bit linear layers share: norm and rounding in vector memory.

Tokens are [tokens, channels], a few of them at a time; the weights stay in vector memory while all
tokens pass. Few tokens a block keep the sums of their products in registers.
"""

from typing import Protocol

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from easel_worker.sdxl.kernels import chip

TOKENS = 128
"""Of a block; by what the TPU's compiler schedules (bench/tpu/README.md)."""

_ROUNDING = 1.5 * 2**23
"""Added to a float32 it leaves the nearest integer in the lowest bits."""


class Norm(Protocol):
    """What a kernel takes of a layer norm: weight and bias [C], and what is added to variances."""

    @property
    def weight(self) -> Array: ...

    @property
    def bias(self) -> Array: ...

    @property
    def eps(self) -> float: ...


class Quantised(Protocol):
    """What a kernel takes of a layer: int8 [in, out], gain [in], step and bias [out]."""

    @property
    def int8(self) -> Array: ...

    @property
    def gain(self) -> Array: ...

    @property
    def step(self) -> Array: ...

    @property
    def bias(self) -> Array | None: ...


def fits(x: Array, channels: tuple[int, ...]) -> bool:
    """Whether tokens x [..., in] come in whole blocks, and layers of `channels` in whole lanes."""
    tokens = x.size // x.shape[-1]
    whole = all(each % chip.LANES == 0 for each in (x.shape[-1], *channels))
    return x.dtype == jnp.bfloat16 and tokens % TOKENS == 0 and whole


def to_int8(x: Array) -> Array:
    """As `int8.nearest`, in fewer operations."""
    shifted = jnp.clip(x, -127.0, 127.0) + _ROUNDING
    steps: Array = lax.bitcast_convert_type(shifted, jnp.int32).astype(jnp.int8)
    return steps


def normalised(x: Array, weight: Array, bias: Array, gain: Array, eps: float) -> Array:
    """float32 x [tokens, C] after a layer norm and times a gain; the vectors are [1, C]."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return centred * lax.rsqrt(variance + eps) * (weight * gain) + bias * gain


def product(steps: Array, weight: Array, step: Array) -> Array:
    """int8 [tokens, in] by int8 [in, out], times the outputs' steps [1, out] → float32."""
    sums = jnp.dot(steps, weight, preferred_element_type=jnp.int32)
    return sums.astype(jnp.float32) * step


def vector(x: Array) -> Array:
    """[C] → [1, C], float32."""
    return x.astype(jnp.float32)[None]


def norm_vectors(norm: Norm) -> list[Array]:
    """A layer norm's weight and bias, as `normalised` takes them."""
    return [vector(norm.weight), vector(norm.bias)]


def tokens_spec(channels: int) -> pl.BlockSpec:
    """A block of tokens."""
    return pl.BlockSpec((TOKENS, channels), lambda i: (i, 0))


def whole_spec(array: Array) -> pl.BlockSpec:
    """All of an array [a, b], for every block."""
    return pl.BlockSpec(array.shape, lambda i: (0, 0))


def compiler_params() -> pltpu.CompilerParams:
    """Blocks in any order."""
    return pltpu.CompilerParams(dimension_semantics=("parallel",), vmem_limit_bytes=chip.MEMORY)
