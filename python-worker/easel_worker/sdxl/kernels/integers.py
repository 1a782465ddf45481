"""Helpers of the kernels of 8-bit layers: norm and rounding in vector memory.

Kernels of linear layers process tokens [tokens, channels] in blocks, while the weights stay in
vector memory. Small blocks keep the sums of products in registers.
"""

from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from easel_worker.sdxl.kernels import chip

TOKENS = 128
"""Tokens of a block, chosen by the compiler's schedules (bench/tpu/README.md)."""

_ROUNDING = 1.5 * 2**23
"""Adding it to a float32 leaves the nearest integer in the low bits."""


class Norm(Protocol):
    """The fields of a layer norm that kernels use: weight and bias [C], and epsilon."""

    @property
    def weight(self) -> Array: ...

    @property
    def bias(self) -> Array: ...

    @property
    def eps(self) -> float: ...


@runtime_checkable
class Quantised(Protocol):
    """The fields of a layer that kernels use: int8 [in, out], gain [in], step and bias [out]."""

    @property
    def int8(self) -> Array: ...

    @property
    def gain(self) -> Array: ...

    @property
    def step(self) -> Array: ...

    @property
    def bias(self) -> Array | None: ...


def fits(x: Array, channels: tuple[int, ...]) -> bool:
    """Whether tokens x [..., in] fill whole blocks, and `in` and `channels` whole lanes."""
    tokens = x.size // x.shape[-1]
    whole = all(each % chip.LANES == 0 for each in (x.shape[-1], *channels))
    return x.dtype == jnp.bfloat16 and tokens % TOKENS == 0 and whole


def to_int8(x: Array) -> Array:
    """Like `int8.nearest`, in fewer operations."""
    shifted = jnp.clip(x, -127.0, 127.0) + _ROUNDING
    steps: Array = lax.bitcast_convert_type(shifted, jnp.int32).astype(jnp.int8)
    return steps


def normalised(x: Array, weight: Array, bias: Array, gain: Array, eps: float) -> Array:
    """Layer norm of float32 x [tokens, C], times a gain. The vectors are [1, C]."""
    return chip.standardised(x, eps) * (weight * gain) + bias * gain


def product(steps: Array, weight: Array, step: Array) -> Array:
    """int8 [tokens, in] · int8 [in, out], times the step sizes [1, out] → float32."""
    sums = jnp.dot(steps, weight, preferred_element_type=jnp.int32)
    return sums.astype(jnp.float32) * step


def norm_vectors(norm: Norm) -> list[Array]:
    """A layer norm's weight and bias as arguments of `normalised`."""
    return [chip.vector(norm.weight), chip.vector(norm.bias)]


def tokens_spec(channels: int) -> pl.BlockSpec:
    """A block of tokens."""
    return pl.BlockSpec((TOKENS, channels), lambda i: (i, 0))


def whole_spec(array: Array) -> pl.BlockSpec:
    """A whole array [a, b], for every block of tokens."""
    return pl.BlockSpec(array.shape, lambda i: (0, 0))


def compiler_params() -> pltpu.CompilerParams:
    """Parameters that allow blocks in any order."""
    return pltpu.CompilerParams(dimension_semantics=("parallel",), vmem_limit_bytes=chip.MEMORY)
