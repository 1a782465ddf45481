"""Checks on a device that int8 layers round there as they should.

`kernels.integers.to_int8` relies on a cast from int32 that keeps the low 8 bits. The compiler for a
device may choose an instruction that clips instead; then all images would be wrong, without an
error. So a worker rounds known values before it makes images with `QUANTIZATION=int8`.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import pallas as pl
from numpy.typing import NDArray

from easel_worker.sdxl.kernels import integers
from easel_worker.sdxl.model import int8
from easel_worker.sdxl.model.kernel_options import KernelOptions

_SIDE = 4 * integers.TOKENS


class WrongRoundingError(ValueError):
    """A device rounds to int8 otherwise than it should. The text names a value and what to do."""


class Difference(NamedTuple):
    """A value, and what the device and the host round it to."""

    value: float
    device: int
    host: int


class Rounding(NamedTuple):
    """How many values were rounded, how many of them wrongly, and the first of those."""

    tried: int
    wrong: int
    first: Difference | None


def known_values() -> NDArray[np.float32]:
    """[tokens, channels]: halves, their neighbours, values beyond int8, and random ones."""
    halves = np.arange(-140, 140, 0.5, dtype=np.float32)
    edges = np.concatenate([halves, np.nextafter(halves, np.inf), np.nextafter(halves, -np.inf)])
    huge = np.array([1e4, -1e4, 1e30, -1e30, 0.0, -0.0], np.float32)
    known = np.concatenate([edges, huge])
    drawn = np.random.default_rng(0).normal(0, 60, _SIDE * _SIDE - known.size)
    return np.concatenate([known, drawn]).astype(np.float32).reshape(_SIDE, _SIDE)


def rounding(kernel_options: KernelOptions, device: jax.Device) -> Rounding:
    """Round the known values on a device, as int8 layers with these options do, and on the host."""
    x = known_values()
    round_there = partial(_by_kernel, interpret=kernel_options.interpret)
    run = jax.jit(round_there if kernel_options.linear_kernel else int8.nearest)
    there = np.asarray(run(jax.device_put(x, device)))
    here = np.clip(np.rint(x), -int8.LARGEST, int8.LARGEST).astype(np.int8)
    wrong = np.flatnonzero(there != here)
    first = None
    if wrong.size > 0:
        at = wrong[0]
        first = Difference(float(x.flat[at]), int(there.flat[at]), int(here.flat[at]))
    return Rounding(x.size, wrong.size, first)


def check(kernel_options: KernelOptions, device: jax.Device) -> None:
    """Check that a device rounds the known values as the host does.

    Raises:
        WrongRoundingError: it does not.
    """
    found = rounding(kernel_options, device)
    if found.first is None:
        return
    value, there, here = found.first
    what_to_do = "set METHODS=plain, or " if kernel_options.linear_kernel else ""
    raise WrongRoundingError(
        f"{device.device_kind} rounds {found.wrong} of {found.tried} known values wrongly to int8, "
        f"first {value:.9g} to {there} instead of {here}, so images of QUANTIZATION=int8 would be "
        f"wrong: {what_to_do}leave out QUANTIZATION"
    )


def _by_kernel(x: Array, *, interpret: bool) -> Array:
    """As the kernels do: blocks of tokens in vector memory."""

    def kernel(source: Any, target: Any) -> None:
        target[...] = integers.to_int8(source[...])

    call = pl.pallas_call(
        kernel,
        grid=(len(x) // integers.TOKENS,),
        in_specs=[integers.tokens_spec(x.shape[1])],
        out_specs=integers.tokens_spec(x.shape[1]),
        out_shape=jax.ShapeDtypeStruct(x.shape, jnp.int8),  # type: ignore[no-untyped-call]
        compiler_params=integers.compiler_params(),
        interpret=interpret,
        name="int8_check",
    )
    rounded: Array = call(x)
    return rounded
