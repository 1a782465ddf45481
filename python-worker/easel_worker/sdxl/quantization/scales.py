"""Quantise layers to 8 bits (`model.int8`).

Some channels are much larger than others. Scaling a channel's activations down scales its weights
up (SmoothQuant, https://arxiv.org/abs/2211.10438). The range of the activations comes from a
calibration (`calibration.py`), so it need not be computed while an image is made.
`selection.py` says which layers are quantised.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from easel_worker.sdxl.model.int8 import LARGEST, Int8Conv, Int8Linear, nearest
from easel_worker.sdxl.model.layers import Conv, Linear

Plain = Linear | Conv
Quantised = Int8Linear | Int8Conv

SMOOTHING = 0.5
"""Fraction of a channel's magnitude that moves into the weights, from 0 to 1."""

_SMALLEST = 1e-5
"""Lower bound of a channel's largest value, relative to the layer's largest input."""


class Steps(NamedTuple):
    """A weight in 8 bits with its scales: see `model.int8`."""

    int8: Array
    gain: Array
    step: Array

    def of(self, plain: Plain) -> Quantised:
        """The layer that takes a plain one's place, with its bias."""
        if isinstance(plain, Conv):
            return Int8Conv(*self, plain.bias)
        return Int8Linear(*self, plain.bias)


def quantise(layers: Sequence[Plain], largest: ArrayLike) -> list[Quantised]:
    """Quantise layers that share an input. See `steps_of`."""
    made = steps_of([layer.weight for layer in layers], largest)
    return [steps.of(layer) for steps, layer in zip(made, layers, strict=True)]


@jax.jit
def steps_of(weights: list[Array], largest: ArrayLike) -> list[Steps]:
    """Quantise the weights of layers that share an input. They get one common gain.

    Args:
        weights: [..., in, out], or abstract ones under `jax.eval_shape`.
        largest: the largest absolute value of each channel of their input, [in].
    """
    weights = [weight.astype(jnp.float32) for weight in weights]
    inputs = jnp.asarray(largest, jnp.float32)
    inputs = jnp.maximum(inputs, jnp.maximum(jnp.max(inputs) * _SMALLEST, _SMALLEST))
    rows = jnp.stack([jnp.max(jnp.abs(weight), axis=_all_but(-2, weight)) for weight in weights])
    rows = jnp.maximum(jnp.max(rows, axis=0), _SMALLEST)
    taken = inputs**SMOOTHING / rows ** (1.0 - SMOOTHING)
    input_step = jnp.max(inputs / taken) / LARGEST
    gain = 1.0 / (taken * input_step)
    made = []
    for weight in weights:
        smoothed = weight * taken[:, None]
        weight_step = (
            jnp.maximum(jnp.max(jnp.abs(smoothed), axis=_all_but(-1, weight)), _SMALLEST**2)
            / LARGEST
        )
        made.append(Steps(nearest(smoothed / weight_step), gain, input_step * weight_step))
    return made


def _all_but(axis: int, weight: Array) -> tuple[int, ...]:
    return tuple(each for each in range(weight.ndim) if each != axis % weight.ndim)
