"""A UNet that also tells how large the inputs of its linear layers are."""

from collections.abc import Callable
from dataclasses import field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl.model.config import UNetConfig
from easel_worker.sdxl.model.layers import Linear
from easel_worker.sdxl.model.params import STATIC, layer
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.quantization import selection


class Watched(NamedTuple):
    """What the UNet says, and what was seen: the largest absolute values by channel, by input."""

    output: Array
    largest: dict[str, Array]


@layer
class WatchedLinear(Linear):
    """A layer that shows its input, while a program is traced."""

    show: Callable[[Array], None] = field(kw_only=True, metadata=STATIC)

    def __call__(self, x: Array) -> Array:
        self.show(x)
        return super().__call__(x)


def watched_unet(config: UNetConfig) -> Callable[..., Watched]:
    """`UNet.__call__` of a configuration as a compiled function of a UNet and its arguments."""
    names = selection.input_names(UNet.declare(config))

    def apply(unet: UNet, *given: Array) -> Watched:
        largest: dict[str, Array] = {}
        coming = iter(names)

        def watch(layers: list[Linear]) -> list[Linear]:
            show = partial(_note, largest, next(coming))
            first, *others = layers
            return [WatchedLinear(first.weight, first.bias, show=show), *others]

        output = selection.replaced(unet, watch)(*given)
        return Watched(output.astype(jnp.float32), largest)

    compiled: Any = jax.jit(apply)
    run: Callable[..., Watched] = compiled
    return run


def _note(largest: dict[str, Array], name: str, x: Array) -> None:
    sizes = jnp.max(jnp.abs(x), axis=tuple(range(x.ndim - 1)))
    largest[name] = sizes.astype(jnp.float32)
