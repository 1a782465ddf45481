"""Finds the layers of the UNet that a device's kernels compute differently from plain JAX.

    python -m bench.chip.layers MODEL --side 1024                      (in python-worker/)

Runs the UNet with plain layers once. Each residual block and transformer also runs with the
kernels, on the same inputs, so an early difference does not spread into later layers. Prints one
JSON object: for each layer, in order, the root mean square of the difference relative to that of
the plain output.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl.folder.model import load_params
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.kernel_layer import bind
from easel_worker.sdxl.model.kernel_options import PLAIN, KernelOptions
from easel_worker.sdxl.model.layers import Measured
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.describe import describe
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.sharding import replicate


@dataclass(frozen=True)
class Compared:
    """A plain layer that also runs another one on its inputs and reports the difference."""

    plain: Any
    other: Any
    report: Callable[[Array], None]

    def __call__(self, *given: Any) -> Array:
        """The plain layer's output."""
        output: Array = self.plain(*given)
        self.report(_difference(output, self.other(*given)))
        return output

    def measured(self, x: Measured, time: Array) -> Measured:
        """The plain residual block's output."""
        output: Measured = self.plain.measured(x, time)
        self.report(_difference(output.image, self.other.measured(x, time).image))
        return output

    def project_context(self, context: Array) -> Any:
        """As the plain transformer."""
        return self.plain.project_context(context)


def differences(unet: UNet, other: KernelOptions, *given: Array) -> dict[str, float]:
    """The relative difference of each layer with other kernels, in the order of computation.

    Args:
        unet: any UNet; its own kernel options do not matter.
        other: the kernel options to compare with plain JAX.
        given: a call's arguments, see `UNet.__call__`.
    """
    names: list[str] = []

    def apply(unet: UNet, *given: Array) -> list[Array]:
        found = _apply(unet, other, *given)
        names[:] = found.keys()
        return list(found.values())

    values = jax.jit(apply)(unet, *given)
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _apply(unet: UNet, other: KernelOptions, *given: Array) -> dict[str, Array]:
    found: dict[str, Array] = {}
    plain, fast = bind(unet, PLAIN), bind(unet, other)

    def level(name: str, of: Any, fast: Any) -> Any:
        def compared(kind: str) -> tuple[Compared, ...]:
            pairs = zip(getattr(of, kind), getattr(fast, kind), strict=True)
            return tuple(
                Compared(*pair, partial(found.__setitem__, f"{name}.{kind}.{i}"))
                for i, pair in enumerate(pairs)
            )

        return replace(of, resnets=compared("resnets"), attentions=compared("attentions"))

    def levels(name: str, of: Any, fast: Any) -> Any:
        return tuple(
            level(f"{name}.{i}", *pair) for i, pair in enumerate(zip(of, fast, strict=True))
        )

    watched = replace(
        plain,
        down=levels("down", plain.down, fast.down),
        mid=level("mid", plain.mid, fast.mid),
        up=levels("up", plain.up, fast.up),
    )
    output = watched(*given)
    found["whole"] = _difference(output, fast(*given))
    return found


def _difference(exact: Array, found: Array) -> Array:
    """The root mean square of a difference, relative to that of `exact`."""
    wide = exact.astype(jnp.float32)
    return jnp.sqrt(jnp.mean((found.astype(jnp.float32) - wide) ** 2) / jnp.mean(wide**2))


def arguments(config: SdxlConfig, side: int, dtype: Any) -> tuple[Array, ...]:
    """Random arguments of a call of the UNet with two rows."""
    latents = side // config.vae_scale
    keys = jax.random.split(jax.random.key(0), 3)
    pooled = config.unet.added_features - 6 * config.unet.time_id_features
    return (
        jax.random.normal(keys[0], (2, latents, latents, config.unet.in_channels), dtype),
        jnp.full(2, 500.0, jnp.float32),
        jax.random.normal(keys[1], (2, 77, config.unet.context), dtype),
        jax.random.normal(keys[2], (2, pooled), dtype),
        jnp.asarray([[side, side, 0, 0, side, side]] * 2, jnp.float32),
    )


def main() -> None:
    """Compare, and print the result."""
    parser = argparse.ArgumentParser(prog="bench.chip.layers", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--side", default=1024, type=int)
    chosen = parser.parse_args()
    options = Options(devices=jax.devices()[:1], sizes=())
    about = describe(chosen.model, options)
    dtypes, put = resolve.dtypes(options), replicate(resolve.mesh(options))

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    params = load_params(about.files, about.config, dtypes, put, say)
    kernels = resolve.kernel_options(options)
    given = arguments(about.config, chosen.side, dtypes.model)
    print(json.dumps(differences(params.unet, kernels, *given)))


if __name__ == "__main__":
    main()
