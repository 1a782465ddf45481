"""Layers that several parts of SDXL share, over NHWC arrays.

The dtype of the parameters is the dtype of the computation. Norm statistics are always float32.
Matrix products of float32 use `Precision.HIGHEST`, because a TPU would otherwise round their
operands to bfloat16.
"""

import math
from dataclasses import field
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from easel_worker.sdxl.kernels import convolution as kernel
from easel_worker.sdxl.model.kernel_layer import KernelLayer
from easel_worker.sdxl.model.params import STATIC, Init, Layout, layer, tensor

Padding = tuple[tuple[int, int], tuple[int, int]]
"""Zero rows and columns to add: ((above, below), (left, right))."""

SAME_3X3: Padding = ((1, 1), (1, 1))


def precision(dtype: DTypeLike) -> lax.Precision:
    """The precision of matrix products for operands of a dtype."""
    return lax.Precision.HIGHEST if dtype == jnp.float32 else lax.Precision.DEFAULT


@layer
class Linear:
    """x [..., in] → [..., out], with a weight [in, out] and a bias [out]."""

    weight: Array
    bias: Array | None = None

    @classmethod
    def declare(
        cls,
        name: str,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        stored_as_conv: bool = False,
        former_name: str | None = None,
    ) -> Self:
        """Declare a layer of a checkpoint.

        Args:
            name: the layer's name in the checkpoint.
            inputs: features in.
            outputs: features out.
            bias: whether the layer has a bias.
            stored_as_conv: the checkpoint stores the layer as a 1×1 convolution.
            former_name: the layer's name in checkpoints of older library versions.
        """
        layout = Layout.POINTWISE if stored_as_conv else Layout.LINEAR
        stored = (outputs, inputs, 1, 1) if stored_as_conv else (outputs, inputs)
        former = () if former_name is None else (former_name,)
        weights, biases = (
            tuple(f"{each}.{leaf}" for each in (name, *former)) for leaf in ("weight", "bias")
        )
        return cls(
            tensor(weights[0], stored, layout, Init.NORMAL, weights[1:]),
            tensor(biases[0], (outputs,), Layout.SAME, Init.ZEROS, biases[1:]) if bias else None,
        )

    def __call__(self, x: Array) -> Array:
        y = jnp.dot(x, self.weight, precision=precision(x.dtype))
        return y if self.bias is None else y + self.bias


@layer
class Embedding:
    """A table of vectors, weight [rows, features]."""

    weight: Array

    @classmethod
    def declare(cls, name: str, rows: int, features: int) -> Self:
        """Declare a table of a checkpoint."""
        return cls(tensor(f"{name}.weight", (rows, features), Layout.SAME, Init.NORMAL))

    def __call__(self, ids: Array) -> Array:
        """ids [...] → their vectors [..., features]."""
        return self.weight[ids]


@layer
class Conv(KernelLayer):
    """x [B, H, W, in] → [B, H', W', out], with a weight [kernel, kernel, in, out] and a bias."""

    weight: Array
    bias: Array
    stride: int = field(default=1, metadata=STATIC)
    padding: Padding = field(default=SAME_3X3, metadata=STATIC)

    @classmethod
    def declare(
        cls,
        name: str,
        inputs: int,
        outputs: int,
        *,
        stride: int = 1,
        padding: Padding = SAME_3X3,
    ) -> Self:
        """Declare a 3×3 convolution of a checkpoint."""
        return cls(
            tensor(f"{name}.weight", (outputs, inputs, 3, 3), Layout.CONV, Init.NORMAL),
            tensor(f"{name}.bias", (outputs,), Layout.SAME, Init.ZEROS),
            stride,
            padding,
        )

    def __call__(self, x: Array) -> Array:
        same = self.stride == 1 and self.padding == SAME_3X3
        if self.kernel_options.convolution_kernel and same and kernel.fits(x, self.weight):
            interpret = self.kernel_options.interpret
            return kernel.convolve(x, self.weight, self.bias, None, interpret=interpret)
        y = lax.conv_general_dilated(
            x,
            self.weight,
            window_strides=(self.stride, self.stride),
            padding=self.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=precision(x.dtype),
        )
        return y + self.bias


@layer
class Norm(KernelLayer):
    """Base of group and layer norm: a weight and a bias per channel, [C]."""

    weight: Array
    bias: Array
    eps: float = field(metadata=STATIC)

    def _standardise(self, x: Array, axes: tuple[int, ...]) -> Array:
        """Normalise float32 x to zero mean and unit variance over `axes`."""
        if self.kernel_options.one_pass_norms:
            mean, variance = _moments(x, axes)
            return (x - mean) * lax.rsqrt(variance + self.eps)
        centred = x - jnp.mean(x, axis=axes, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=axes, keepdims=True)
        return centred * lax.rsqrt(variance + self.eps)

    def _affine(self, normal: Array, dtype: DTypeLike) -> Array:
        scaled = normal * self.weight.astype(jnp.float32)
        return (scaled + self.bias.astype(jnp.float32)).astype(dtype)


@layer
class LayerNorm(Norm):
    """Normalises x [..., C] over its channels."""

    @classmethod
    def declare(cls, name: str, features: int, *, eps: float) -> Self:
        """A norm of a checkpoint."""
        return cls(*_declare_affine(name, features), eps)

    def __call__(self, x: Array) -> Array:
        return self._affine(self._standardise(x.astype(jnp.float32), (-1,)), x.dtype)


@layer
class GroupNorm(Norm):
    """Normalises x [B, ..., C] over all pixels and channels of each of `groups` groups."""

    groups: int = field(metadata=STATIC)

    @classmethod
    def declare(cls, name: str, features: int, *, groups: int, eps: float) -> Self:
        """A norm of a checkpoint."""
        return cls(*_declare_affine(name, features), eps, groups)

    def __call__(self, x: Array) -> Array:
        normal = self._standardise(self._in_groups(x), (1, 3)).reshape(x.shape)
        return self._affine(normal, x.dtype)

    def affine(self, x: Array) -> tuple[Array, Array]:
        """The scale and shift per channel that normalise x [B, ..., C]: [B, C] each, float32."""
        mean, variance = _moments(self._in_groups(x), (1, 3))
        each = (x.shape[0], self.groups, x.shape[-1] // self.groups)

        def by_channel(moment: Array) -> Array:
            return jnp.broadcast_to(moment[:, 0], each).reshape(x.shape[0], -1)

        scale = by_channel(lax.rsqrt(variance + self.eps)) * self.weight.astype(jnp.float32)
        return scale, self.bias.astype(jnp.float32) - by_channel(mean) * scale

    def _in_groups(self, x: Array) -> Array:
        """x [B, ..., C] → [B, pixels, groups, C / groups], float32."""
        size = x.shape[-1] // self.groups
        return x.astype(jnp.float32).reshape(x.shape[0], -1, self.groups, size)


def _declare_affine(name: str, features: int) -> tuple[Array, Array]:
    return (
        tensor(f"{name}.weight", (features,), Layout.SAME, Init.ONES),
        tensor(f"{name}.bias", (features,), Layout.SAME, Init.ZEROS),
    )


def _moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean and variance of float32 x in one pass. Rounding cannot make the variance negative."""
    mean = jnp.mean(x, axis=axes, keepdims=True)
    square = jnp.mean(jnp.square(x), axis=axes, keepdims=True)
    return mean, jnp.maximum(square - jnp.square(mean), 0.0)


def norm_silu_conv(norm: GroupNorm, conv: Conv, x: Array, *, offset: Array | None = None) -> Array:
    """conv(silu(norm(x))) + offset, fused where the convolution kernel supports it.

    Args:
        norm: norm of the input.
        conv: a 3×3 convolution of stride 1.
        x: [B, H, W, in].
        offset: added to every pixel of an image, [B, out]; or None.

    Returns:
        [B, H, W, out].
    """
    if conv.kernel_options.convolution_kernel and kernel.fits(x, conv.weight):
        bias = conv.bias if offset is None else conv.bias + offset
        interpret = conv.kernel_options.interpret
        return kernel.convolve(x, conv.weight, bias, norm.affine(x), interpret=interpret)
    y = conv(jax.nn.silu(norm(x)))
    return y if offset is None else y + offset[:, None, None, :]


def gelu(x: Array) -> Array:
    """The exact GELU, not the tanh approximation.

    Uses `erf` as PyTorch does. `jax.nn.gelu` uses `erfc`, which is slow on TPUs.
    """
    return 0.5 * x * (1.0 + lax.erf(x * math.sqrt(0.5)))


def fitted_gelu(x: Array) -> Array:
    """GELU by tanh of a polynomial, which TPUs compute faster than `erf`. Computed in float32.

    Its largest error is 2.6e-5. The coefficients minimise it; the bound on x² keeps the polynomial
    from falling again, where tanh has long been ±1.
    """
    wide = x.astype(jnp.float32)
    square = jnp.minimum(wide * wide, 16.0)
    slope = 0.79750689 + square * (0.037006611 - 3.5167569e-4 * square)
    return (0.5 * wide * (1.0 + jnp.tanh(wide * slope))).astype(x.dtype)


def quick_gelu(x: Array) -> Array:
    """OpenAI CLIP's approximation of GELU.

    https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/activations.py#L117
    """
    gate: Array = jax.nn.sigmoid(1.702 * x)
    return x * gate


def upsample_nearest(x: Array) -> Array:
    """x [B, H, W, C] → [B, 2H, 2W, C], repeating each pixel in a 2×2 block."""
    batch, height, width, channels = x.shape
    size = (batch, 2 * height, 2 * width, channels)
    resized: Array = jax.image.resize(x, size, "nearest")
    return resized


def sinusoid(values: Array, *, features: int, flip_sin_to_cos: bool, freq_shift: float) -> Array:
    """Sines and cosines of values [...] at geometric frequencies → [..., features], float32.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/embeddings.py#L27
    """
    half = features // 2
    # On the host, in torch's order of operations: one ulp here is 1e-4 rad at timestep 1000.
    exponent = np.float32(-math.log(10000.0)) * np.arange(half, dtype=np.float32)
    frequencies = jnp.asarray(np.exp(exponent / np.float32(half - freq_shift)))
    angles = values.astype(jnp.float32)[..., None] * frequencies
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    return jnp.concatenate([cos, sin] if flip_sin_to_cos else [sin, cos], axis=-1)
