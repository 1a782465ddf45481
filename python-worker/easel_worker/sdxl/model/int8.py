"""Linear layers in 8-bit integers, weights and activations, with scales that are fixed beforehand.

    y = (round(x · gain) @ int8) · step + bias

`gain` [in] is one over the size of a step of each input channel, `step` [out] is the size of a step
of each output; `quantization` finds them.
"""

import jax.numpy as jnp
from jax import Array, lax

from easel_worker.sdxl.model.chosen import Chosen
from easel_worker.sdxl.model.layers import Linear
from easel_worker.sdxl.model.params import layer

LARGEST = 127
"""As far as steps go, in both directions."""


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
