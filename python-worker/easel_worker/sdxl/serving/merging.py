"""Programs that merge LoRAs of low rank into a parameter, on the devices.

Each shape of a parameter has a program for each of `RANKS`; the factors are padded with zeros. All
are compiled before LoRAs are offered, so no request compiles anything.
"""

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Sharding
from numpy.typing import NDArray

from easel_worker.engine import ProgramInfo
from easel_worker.sdxl.serving.compilation import CompileHere, Program

RANKS = (32, 128)
"""The ranks of the programs: the sum of the ranks of an image's LoRAs at most. Larger ones are
merged on the host."""

MOST_RANK = RANKS[-1]


class _Key(NamedTuple):
    shape: tuple[int, ...]
    dtype: str
    rank: int


def merge(base: Array, down: Array, up: Array) -> Array:
    """base + the product of the factors, summed in float32, in base's dtype.

    Args:
        base: a parameter in our layout, [..., out].
        down: [rank, all of base's other elements], float32.
        up: [out, rank], float32.
    """
    product = jnp.einsum("ri,or->io", down, up, precision=lax.Precision.HIGHEST)
    return (base.astype(jnp.float32) + product.reshape(base.shape)).astype(base.dtype)


class MergePrograms:
    """Compiles the programs and runs them."""

    def __init__(self, where: Sharding) -> None:
        """Args: `where` is the sharding of parameters."""
        self._where = where
        self._programs: dict[_Key, Program] = {}

    def compile(self, params: Iterable[Any]) -> ProgramInfo:
        """Compile the programs of some parameters, which may be abstract; returns their sum."""
        started, compiler = time.perf_counter(), CompileHere(lambda _: None)
        matrices = (param for param in params if param.ndim > 1)
        wanted = {_key(param, rank): param for param in matrices for rank in RANKS}
        for key, param in wanted.items():
            outputs, rest = _size(param.shape)
            down, up = (
                np.zeros((key.rank, rest), np.float32),
                np.zeros((outputs, key.rank), np.float32),
            )
            name = f"merge {key.shape} {key.rank}"
            shape: Any = jax.ShapeDtypeStruct(param.shape, param.dtype)  # type: ignore[no-untyped-call]
            self._programs[key] = compiler.compile(name, merge, (shape, down, up), self._where)
        seconds = round(time.perf_counter() - started, 3)
        cached = all(program.info.cached for program in self._programs.values())
        return ProgramInfo(f"merge LoRAs x{len(wanted)}", seconds, cached)

    def run(self, base: Array, down: NDArray[np.float32], up: NDArray[np.float32]) -> Array:
        """`merge` for factors of any rank up to `MOST_RANK`."""
        rank = next(rank for rank in RANKS if rank >= len(down))
        padding = (0, rank - len(down))
        down = np.pad(down, (padding, (0, 0)))
        up = np.pad(up, ((0, 0), padding))
        placed = jax.device_put((np.ascontiguousarray(down), np.ascontiguousarray(up)), self._where)
        merged: Array = self._programs[_key(base, rank)].run(base, *placed)
        return merged


def _key(param: Any, rank: int) -> _Key:
    return _Key(tuple(param.shape), np.dtype(param.dtype).name, rank)


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """A parameter's outputs, and all of its other elements."""
    return shape[-1], int(np.prod(shape[:-1]))
