"""Checks on the device that the int8 kernels round as plain JAX does.

    python -m bench.chip.int8                                          (in python-worker/)

`kernels.integers.to_int8` relies on a cast from int32 that keeps the low 8 bits. The device's
compiler may choose another instruction, and the images of `QUANTIZATION=int8` would be wrong
without an error. Prints one JSON object: how many values were tried, and the first one that
differs.
"""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import pallas as pl

from easel_worker.sdxl.kernels import chip, integers
from easel_worker.sdxl.model.int8 import nearest

SIDE = 512


def values() -> Array:
    """Float32 [SIDE, SIDE]: halves, their neighbours, values beyond int8, and random ones."""
    halves = np.arange(-140, 140, 0.5, dtype=np.float32)
    edges = np.concatenate([halves, np.nextafter(halves, np.inf), np.nextafter(halves, -np.inf)])
    huge = np.array([1e4, -1e4, 1e30, -1e30, 0.0, -0.0], np.float32)
    known = np.concatenate([edges, huge])
    drawn = np.random.default_rng(0).normal(0, 60, SIDE * SIDE - known.size)
    return jnp.asarray(np.concatenate([known, drawn]).astype(np.float32).reshape(SIDE, SIDE))


def check() -> dict[str, Any]:
    """Round in a kernel and in plain JAX, and compare."""
    x = values()

    def kernel(source: Any, target: Any) -> None:
        target[...] = integers.to_int8(source[...])

    rounded = pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct(x.shape, jnp.int8),  # type: ignore[no-untyped-call]
        interpret=jax.default_backend() != "tpu",
    )(x)
    wrong = np.flatnonzero(np.asarray(rounded) != np.asarray(nearest(x)))
    found: dict[str, Any] = {"tried": x.size, "wrong": len(wrong), "lanes": chip.LANES}
    if len(wrong) > 0:
        at = wrong[0]
        found["first"] = {
            "value": float(np.asarray(x).flat[at]),
            "kernel": int(np.asarray(rounded).flat[at]),
            "plain": int(np.asarray(nearest(x)).flat[at]),
        }
    return found


if __name__ == "__main__":
    print(json.dumps(check()))
