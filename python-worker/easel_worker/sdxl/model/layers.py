"""Layers that several parts of SDXL share, over NHWC arrays.

The dtype of the parameters is the dtype of the computation. Norm statistics are always float32.
Matrix products of float32 use `Precision.HIGHEST`, because a TPU would otherwise round their
operands to bfloat16.
"""

import math
from collections.abc import Sequence
from dataclasses import field
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from easel_worker.sdxl.kernels import convolution as kernel
from easel_worker.sdxl.model.kernel_layer import KernelLayer
from easel_worker.sdxl.model.params import STATIC, Init, Layout, layer, tensor


class Measured(NamedTuple):
    """An image and, if a kernel measured it while writing it, what its norm needs.

    Attributes:
        image: [B, H, W, C].
        moments: the mean and the variance of each channel of equally large parts of the image,
            [B, parts, 2, C], float32; or None.
    """

    image: Array
    moments: Array | None = None

    def plus(self, other: Array) -> "Measured":
        """The sum of the image and another, [B, H, W, C]; not measured."""
        return Measured(self.image + other)


Padding = tuple[tuple[int, int], tuple[int, int]]
"""Zero rows and columns to add: ((above, below), (left, right))."""

Moments = tuple[Array, Array]
"""Mean and variance."""

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
            [y] = kernel.convolve(x, self.weight, self.bias, None, interpret=interpret)
            return y
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
        wide = x.astype(jnp.float32)
        # One pass loses float32's digits where the mean is far above the spread. bfloat16 has few.
        if self.kernel_options.one_pass_norms and x.dtype == jnp.bfloat16:
            normal = _standardised(wide, _moments(wide, -1), self.eps)
        else:
            normal = _standardised_exactly(wide, (-1,), self.eps)
        return self._affine(normal, x.dtype)


@layer
class GroupNorm(Norm):
    """Normalises x [B, ..., C] over all pixels and channels of each of `groups` groups."""

    groups: int = field(metadata=STATIC)

    @classmethod
    def declare(cls, name: str, features: int, *, groups: int, eps: float) -> Self:
        """A norm of a checkpoint."""
        return cls(*_declare_affine(name, features), eps, groups)

    def __call__(self, x: Array) -> Array:
        return self.of(Measured(x))

    def of(self, measured: Measured) -> Array:
        """Like a call, for an image that may be measured."""
        x = measured.image
        wide = x.astype(jnp.float32)
        if self.kernel_options.one_pass_norms:
            pixels = wide.reshape(x.shape[0], -1, x.shape[-1])
            mean, variance = self._of_groups(_moments_of(measured))
            normal = _standardised(pixels, (mean[:, None], variance[:, None]), self.eps)
        else:
            size = x.shape[-1] // self.groups
            in_groups = wide.reshape(x.shape[0], -1, self.groups, size)
            normal = _standardised_exactly(in_groups, (1, 3), self.eps)
        return self._affine(normal.reshape(x.shape), x.dtype)

    def affine(self, x: Measured) -> tuple[Array, Array]:
        """The scale and shift per channel that normalise an image: [B, C] each, float32."""
        mean, variance = self._of_groups(_moments_of(x))
        scale = lax.rsqrt(variance + self.eps) * self.weight.astype(jnp.float32)
        return scale, self.bias.astype(jnp.float32) - mean * scale

    def _of_groups(self, moments: Array) -> Moments:
        """The moments [B, C] of each channel's group, from those of parts, [B, parts, 2, C]."""
        batch, parts, _, channels = moments.shape
        in_groups = moments.reshape(batch, parts, 2, self.groups, channels // self.groups)
        means, variances = in_groups[:, :, 0], in_groups[:, :, 1]
        mean = jnp.mean(means, axis=(1, 3), keepdims=True)
        variance = jnp.mean(variances + jnp.square(means - mean), axis=(1, 3), keepdims=True)
        shape = (batch, 1, *means.shape[2:])
        first, second = (
            jnp.broadcast_to(each, shape).reshape(batch, channels) for each in (mean, variance)
        )
        return first, second


def _declare_affine(name: str, features: int) -> tuple[Array, Array]:
    return (
        tensor(f"{name}.weight", (features,), Layout.SAME, Init.ONES),
        tensor(f"{name}.bias", (features,), Layout.SAME, Init.ZEROS),
    )


def _standardised_exactly(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    """Float32 x with zero mean and unit variance over `axes`, in two passes."""
    centred = x - jnp.mean(x, axis=axes, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=axes, keepdims=True)
    return centred * lax.rsqrt(variance + eps)


def _moments(x: Array, axis: int) -> Moments:
    """Mean and variance of float32 x in one pass. Rounding cannot make the variance negative."""
    mean = jnp.mean(x, axis=axis, keepdims=True)
    square = jnp.mean(jnp.square(x), axis=axis, keepdims=True)
    return mean, jnp.maximum(square - jnp.square(mean), 0.0)


def _moments_of_channels(x: Array) -> Array:
    """`Measured.moments` of x [B, ..., C] as one part: [B, 1, 2, C].

    One pass over x minus its first pixel, so that a mean far above the spread costs no digits. The
    pixel is cut out before the conversion: after it, XLA would store all of float32 x.
    """
    pixels = x.reshape(x.shape[0], -1, x.shape[-1])
    pivot = pixels[:, :1].astype(jnp.float32)
    mean, variance = _moments(pixels.astype(jnp.float32) - pivot, 1)
    return jnp.stack([pivot + mean, variance], axis=2)


def _moments_of(x: Measured) -> Array:
    return _moments_of_channels(x.image) if x.moments is None else x.moments


def concatenated(images: Sequence[Measured]) -> Measured:
    """Images with their channels side by side. If one is measured, so is the result."""
    image = jnp.concatenate([each.image for each in images], axis=-1)
    if all(each.moments is None for each in images):
        return Measured(image)
    moments = [_of_whole_image(_moments_of(each)) for each in images]
    return Measured(image, jnp.concatenate(moments, axis=-1))


def _of_whole_image(moments: Array) -> Array:
    """The moments of each channel, [B, 1, 2, C], from those of parts, [B, parts, 2, C]."""
    means, variances = moments[:, :, 0], moments[:, :, 1]
    mean = jnp.mean(means, axis=1, keepdims=True)
    variance = jnp.mean(variances + jnp.square(means - mean), axis=1, keepdims=True)
    return jnp.stack([mean, variance], axis=2)


def _standardised(x: Array, moments: Moments, eps: float) -> Array:
    mean, variance = moments
    return (x - mean) * lax.rsqrt(variance + eps)


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
