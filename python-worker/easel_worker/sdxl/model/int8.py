"""Linear layers with 8-bit weights and activations, whose scales are fixed ahead of time.

    y = (round(x · gain) @ int8) · step + bias

`gain` [in] is the reciprocal of each input channel's step size and `step` [out] the step size of
each output channel. `quantization` computes both.
"""

import jax.numpy as jnp
from jax import Array, lax

from easel_worker.sdxl.model.kernel_layer import KernelLayer
from easel_worker.sdxl.model.layers import Linear
from easel_worker.sdxl.model.params import layer

LARGEST = 127
"""The largest magnitude of a quantised value."""


def nearest(x: Array) -> Array:
    """Round float32 to int8; clip values out of range."""
    return jnp.clip(jnp.round(x), -LARGEST, LARGEST).astype(jnp.int8)


@layer
class Int8Linear(KernelLayer):
    """x [..., in] → [..., out], in the dtype of x: int8 [in, out], gain [in], step and bias [out].

    Kernel options take effect in `token_layers`, which fuses the layer with its neighbours.
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
