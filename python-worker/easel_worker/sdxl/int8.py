"""Linear layers in 8-bit integers, weights and activations, with scales that are fixed beforehand.

    y = (round(x · gain) @ int8) · step + bias

`gain` [in] is one over the size of a step of each input channel. Some channels of a transformer are
far larger than others; what a channel's step takes more of the activations' range, its weights take
less of theirs (SmoothQuant, https://arxiv.org/abs/2211.10438). `step` [out] is the size of a step
of each output. The activations' range comes from a calibration (`calibration.py`), so nothing has
to be looked at twice while an image is made. Which layers are quantised says `quantisation.py`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from easel_worker.sdxl.chosen import Chosen
from easel_worker.sdxl.layers import Linear
from easel_worker.sdxl.params import layer

LARGEST = 127
"""As far as steps go, in both directions."""

SMOOTHING = 0.5
"""Which share of a channel's size the weights take over: 0 is none, 1 is all."""

_SMALLEST = 1e-5
"""Of a layer's largest input: a channel that was never seen to move is taken for so large."""


def nearest(x: Array) -> Array:
    """float32 in steps → int8; what is out of range goes to its end."""
    return jnp.clip(jnp.round(x), -LARGEST, LARGEST).astype(jnp.int8)


@layer
class Int8Linear(Chosen):
    """x [..., in] → [..., out], in the dtype of x: int8 [in, out], gain [in], step and bias [out].

    `methods` matter to `token_layers`, which computes a layer together with what is beside it.
    """

    int8: Array
    gain: Array
    step: Array
    bias: Array | None

    def __call__(self, x: Array) -> Array:
        steps = nearest(x.astype(jnp.float32) * self.gain)
        contract = (((x.ndim - 1,), (0,)), ((), ()))
        sums = lax.dot_general(steps, self.int8, contract, preferred_element_type=jnp.int32)
        y = sums.astype(jnp.float32) * self.step
        if self.bias is not None:
            y += self.bias.astype(jnp.float32)
        result: Array = y.astype(x.dtype)
        return result


AnyLinear = Linear | Int8Linear


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
