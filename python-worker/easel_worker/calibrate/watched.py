"""A UNet that also returns how large the inputs are of the layers that int8 quantises."""

from collections.abc import Callable
from dataclasses import field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl.model.config import UNetConfig
from easel_worker.sdxl.model.layers import Conv, Linear
from easel_worker.sdxl.model.params import STATIC, layer
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.quantization import selection
from easel_worker.sdxl.quantization.scales import Plain


class Watched(NamedTuple):
    """The UNet's output, and the largest absolute value per channel, by input."""

    output: Array
    largest: dict[str, Array]


@layer
class WatchedLinear(Linear):
    """A layer that passes its input to `show` while a program is traced."""

    show: Callable[[Array], None] = field(kw_only=True, metadata=STATIC)

    def __call__(self, x: Array) -> Array:
        self.show(x)
        return super().__call__(x)


@layer
class WatchedConv(Conv):
    """The same for a convolution."""

    show: Callable[[Array], None] = field(kw_only=True, metadata=STATIC)

    def __call__(self, x: Array) -> Array:
        self.show(x)
        return super().__call__(x)


def watched_unet(config: UNetConfig) -> Callable[..., Watched]:
    """A compiled `UNet.__call__` that takes the UNet first and also returns the largest inputs."""
    names = selection.input_names(UNet.declare(config))

    def apply(unet: UNet, *given: Array, **more: Array) -> Watched:
        largest: dict[str, Array] = {}
        remaining = iter(names)

        def watch(layers: list[Plain]) -> list[Plain]:
            show = partial(_note, largest, next(remaining))
            first, *others = layers
            if isinstance(first, Conv):
                return [WatchedConv(first.weight, first.bias, show=show)]
            return [WatchedLinear(first.weight, first.bias, show=show), *others]

        output = selection.replaced(unet, watch)(*given, **more)
        return Watched(output.astype(jnp.float32), largest)

    compiled: Any = jax.jit(apply)
    run: Callable[..., Watched] = compiled
    return run


def _note(largest: dict[str, Array], name: str, x: Array) -> None:
    sizes = jnp.max(jnp.abs(x), axis=tuple(range(x.ndim - 1)))
    largest[name] = sizes.astype(jnp.float32)
