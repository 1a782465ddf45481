"""Layers with 8-bit weights and activations, whose scales are fixed ahead of time.

    y = (round(x · gain) @ int8) · step + bias

and the same with a convolution in place of the product. `gain` [in] is the reciprocal of each input
channel's step size and `step` [out] the step size of each output channel. `quantization` computes
both.
"""

import jax.numpy as jnp
from jax import Array, lax

from easel_worker.sdxl.model.kernel_layer import KernelLayer
from easel_worker.sdxl.model.layers import SAME_3X3, Conv, Linear
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


@layer
class Int8Conv(KernelLayer):
    """x [B, H, W, in] → [B, H, W, out], in the dtype of x: a 3×3 convolution of stride 1.

    int8 [3, 3, in, out], gain [in], step and bias [out]. Kernel options take effect in
    `image_layers`, which fuses the layer with the norm before it.
    """

    int8: Array
    gain: Array
    step: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        sums = filtered(nearest(x.astype(jnp.float32) * self.gain), self.int8)
        y = sums.astype(jnp.float32) * self.step + self.bias.astype(jnp.float32)
        result: Array = y.astype(x.dtype)
        return result


def filtered(x: Array, weight: Array) -> Array:
    """The int32 sums of a convolution of stride 1, int8 [B, H, W, in] and [3, 3, in, out]."""
    sums: Array = lax.platform_dependent(
        *(x, weight), cuda=by_products, rocm=by_products, default=by_convolution
    )
    return sums


def by_convolution(x: Array, weight: Array) -> Array:
    """`filtered` as XLA's own convolution."""
    return lax.conv_general_dilated(
        *(x, weight),
        window_strides=(1, 1),
        padding=SAME_3X3,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        preferred_element_type=jnp.int32,
    )


def by_products(x: Array, weight: Array) -> Array:
    """`filtered` as a product for each element of the filter: cuDNN may lack the convolution."""
    _, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), *SAME_3X3, (0, 0)))
    sums = jnp.zeros((*x.shape[:-1], weight.shape[-1]), jnp.int32)
    for row in range(weight.shape[0]):
        for column in range(weight.shape[1]):
            pixels = padded[:, row : row + height, column : column + width]
            contract = (((3,), (0,)), ((), ()))
            sums += lax.dot_general(
                pixels, weight[row, column], contract, preferred_element_type=jnp.int32
            )
    return sums


AnyLinear = Linear | Int8Linear
AnyConv = Conv | Int8Conv
