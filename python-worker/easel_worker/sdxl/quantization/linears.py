"""Linear layers made into such of 8-bit integers (`model.int8`), which share their inputs' gain.

Some channels of a transformer are far larger than others; what a channel's step takes more of the
activations' range, its weights take less of theirs (SmoothQuant, https://arxiv.org/abs/2211.10438).
The activations' range comes from a calibration (`calibration.py`), so nothing has to be looked at
twice while an image is made. Which layers are quantised says `selection.py`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from easel_worker.sdxl.model.int8 import LARGEST, Int8Linear, nearest
from easel_worker.sdxl.model.layers import Linear

SMOOTHING = 0.5
"""Which share of a channel's size the weights take over: 0 is none, 1 is all."""

_SMALLEST = 1e-5
"""Of a layer's largest input: a channel that was never seen to move is taken for so large."""


def quantise(linears: Sequence[Linear], largest: ArrayLike) -> list[Int8Linear]:
    """Layers that share an input in 8 bits, with one gain for all of them.

    Args:
        linears: on the devices or abstract (under `jax.eval_shape`).
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
