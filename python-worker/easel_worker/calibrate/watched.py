"""A UNet that also tells how large the inputs of its linear layers are."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl import int8, unet
from easel_worker.sdxl.config_unet import UNetConfig
from easel_worker.sdxl.params import Params


class Watched(NamedTuple):
    """What the UNet says, and what was seen: the largest absolute values by channel, by input."""

    output: Array
    largest: dict[str, Array]


def watched_unet(config: UNetConfig) -> Callable[..., Watched]:
    """`unet.apply` of a configuration as a compiled function of all that follows there."""
    names = int8.input_names(unet.declare(config))

    def apply(params: Params, *given: Array) -> Watched:
        largest: dict[str, Array] = {}
        firsts = [layers[0] for layers in int8.shared_inputs(params)]
        watched: dict[int, Params] = {
            id(layer): {**layer, "watch": partial(_note, largest, name)}
            for layer, name in zip(firsts, names, strict=True)
        }
        output = unet.apply(int8.replace(params, watched), config, *given)
        return Watched(output.astype(jnp.float32), largest)

    compiled: Any = jax.jit(apply)
    run: Callable[..., Watched] = compiled
    return run


def _note(largest: dict[str, Array], name: str, x: Array) -> None:
    sizes = jnp.max(jnp.abs(x), axis=tuple(range(x.ndim - 1)))
    largest[name] = sizes.astype(jnp.float32)
