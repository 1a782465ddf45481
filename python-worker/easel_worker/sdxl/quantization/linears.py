"""Quantise linear layers to 8 bits (`model.int8`).

Some channels of a transformer are much larger than others. Scaling a channel's activations down
scales its weights up (SmoothQuant, https://arxiv.org/abs/2211.10438). The range of the activations
comes from a calibration (`calibration.py`), so it need not be computed while an image is made.
`selection.py` says which layers are quantised.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from easel_worker.sdxl.model.int8 import LARGEST, Int8Linear, nearest
from easel_worker.sdxl.model.layers import Linear

SMOOTHING = 0.5
"""Fraction of a channel's magnitude that moves into the weights, from 0 to 1."""

_SMALLEST = 1e-5
"""Lower bound of a channel's largest value, relative to the layer's largest input."""


def quantise(linears: Sequence[Linear], largest: ArrayLike) -> list[Int8Linear]:
    """Quantise layers that share an input. They get one common gain.

    Args:
        linears: layers of arrays, or abstract ones under `jax.eval_shape`.
        largest: the largest absolute value of each channel of their input, [in].
    """
    made = _quantise([linear.weight for linear in linears], largest)
    return [
        Int8Linear(steps, gain, step, linear.bias)
        for linear, (steps, gain, step) in zip(linears, made, strict=True)
    ]


@jax.jit
def _quantise(weights: list[Array], largest: ArrayLike) -> list[tuple[Array, Array, Array]]:
    """int8, gain and step for each weight."""
    weights = [weight.astype(jnp.float32) for weight in weights]
    inputs = jnp.asarray(largest, jnp.float32)
    inputs = jnp.maximum(inputs, jnp.maximum(jnp.max(inputs) * _SMALLEST, _SMALLEST))
    rows = jnp.stack([jnp.max(jnp.abs(weight), axis=1) for weight in weights])
    rows = jnp.maximum(jnp.max(rows, axis=0), _SMALLEST)
    taken = inputs**SMOOTHING / rows ** (1.0 - SMOOTHING)
    input_step = jnp.max(inputs / taken) / LARGEST
    gain = 1.0 / (taken * input_step)
    made = []
    for weight in weights:
        smoothed = weight * taken[:, None]
        weight_step = jnp.maximum(jnp.max(jnp.abs(smoothed), axis=0), _SMALLEST**2) / LARGEST
        made.append((nearest(smoothed / weight_step), gain, input_step * weight_step))
    return made
