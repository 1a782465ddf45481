"""The layers that all of SDXL's parts share, as pure functions over NHWC arrays.

The dtype of the parameters decides the dtype of the computation. Norm statistics are always
float32, and matrix products of float32 are exact float32 (`Precision.HIGHEST`), because a TPU
would otherwise round their operands to bfloat16.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from easel_worker.sdxl import int8
from easel_worker.sdxl.kernels import convolution as kernel
from easel_worker.sdxl.methods import PLAIN, Methods
from easel_worker.sdxl.params import Params

Padding = tuple[tuple[int, int], tuple[int, int]]
"""Rows and columns of zeros: ((above, below), (left, right))."""

SAME_3X3: Padding = ((1, 1), (1, 1))


def precision(dtype: DTypeLike) -> lax.Precision:
    """The precision of matrix products for operands of a dtype."""
    return lax.Precision.HIGHEST if dtype == jnp.float32 else lax.Precision.DEFAULT


def linear(params: Params, x: Array) -> Array:
    """x [..., in] → [..., out].

    A `watch` among the parameters is shown the input while a program is traced (`calibrate`).
    """
    if "watch" in params:
        params["watch"](x)
    if int8.is_int8(params):
        return int8.linear(params, x)
    y = jnp.dot(x, params["weight"], precision=precision(x.dtype))
    bias: Array | None = params.get("bias")
    return y if bias is None else y + bias


def conv(
    params: Params,
    x: Array,
    *,
    stride: int = 1,
    padding: Padding = SAME_3X3,
    methods: Methods = PLAIN,
) -> Array:
    """x [B, H, W, in] → [B, H', W', out]."""
    bias: Array = params["bias"]
    same = stride == 1 and padding == SAME_3X3
    if methods.convolution_kernel and same and kernel.fits(x, params["weight"]):
        return kernel.convolve(x, params["weight"], bias, None, interpret=methods.interpret)
    y = lax.conv_general_dilated(
        x,
        params["weight"],
        window_strides=(stride, stride),
        padding=padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision(x.dtype),
    )
    return y + bias


def norm_silu_conv(
    norm: Params,
    params: Params,
    x: Array,
    *,
    groups: int,
    eps: float,
    offset: Array | None = None,
    methods: Methods = PLAIN,
) -> Array:
    """conv(silu(group_norm(x))) + offset, which a TPU does in one go.

    Args:
        norm: parameters of the norm.
        params: of the convolution.
        x: [B, H, W, in].
        groups: of the norm.
        eps: of the norm.
        offset: added to all pixels of an image [B, out], or None.
        methods: how.

    Returns:
        [B, H, W, out].
    """
    if methods.convolution_kernel and kernel.fits(x, params["weight"]):
        bias: Array = params["bias"] if offset is None else params["bias"] + offset
        affine = _group_affine(norm, x, groups=groups, eps=eps)
        return kernel.convolve(x, params["weight"], bias, affine, interpret=methods.interpret)
    y = conv(params, jax.nn.silu(group_norm(norm, x, groups=groups, eps=eps, methods=methods)))
    return y if offset is None else y + offset[:, None, None, :]


def group_norm(
    params: Params, x: Array, *, groups: int, eps: float, methods: Methods = PLAIN
) -> Array:
    """Normalise x [B, ..., C] over all but the batch in each of `groups` runs of channels."""
    grouped = _in_groups(x, groups)
    normal = _standardise(grouped, axes=(1, 3), eps=eps, methods=methods).reshape(x.shape)
    return _affine(params, normal, x.dtype)


def layer_norm(params: Params, x: Array, *, eps: float, methods: Methods = PLAIN) -> Array:
    """Normalise x [..., C] over its channels."""
    normal = _standardise(x.astype(jnp.float32), axes=(-1,), eps=eps, methods=methods)
    return _affine(params, normal, x.dtype)


def _in_groups(x: Array, groups: int) -> Array:
    """x [B, ..., C] → [B, pixels, groups, C / groups], float32."""
    return x.astype(jnp.float32).reshape(x.shape[0], -1, groups, x.shape[-1] // groups)


def _standardise(x: Array, *, axes: tuple[int, ...], eps: float, methods: Methods) -> Array:
    """Zero mean and unit variance over `axes`."""
    if methods.one_pass_norms:
        mean, variance = _moments(x, axes)
        return (x - mean) * lax.rsqrt(variance + eps)
    centred = x - jnp.mean(x, axis=axes, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=axes, keepdims=True)
    return centred * lax.rsqrt(variance + eps)


def _moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean and variance of float32 x, which is read once. Rounding may not make it negative."""
    mean = jnp.mean(x, axis=axes, keepdims=True)
    square = jnp.mean(jnp.square(x), axis=axes, keepdims=True)
    return mean, jnp.maximum(square - jnp.square(mean), 0.0)


def _group_affine(params: Params, x: Array, *, groups: int, eps: float) -> tuple[Array, Array]:
    """A group norm of x [B, ..., C] as scale and shift of its channels, [B, C] each, float32."""
    mean, variance = _moments(_in_groups(x, groups), (1, 3))
    each = (x.shape[0], groups, x.shape[-1] // groups)

    def by_channel(moment: Array) -> Array:
        return jnp.broadcast_to(moment[:, 0], each).reshape(x.shape[0], -1)

    scale = by_channel(lax.rsqrt(variance + eps)) * params["weight"].astype(jnp.float32)
    return scale, params["bias"].astype(jnp.float32) - by_channel(mean) * scale


def _affine(params: Params, normal: Array, dtype: DTypeLike) -> Array:
    weight: Array = params["weight"]
    bias: Array = params["bias"]
    return (normal * weight.astype(jnp.float32) + bias.astype(jnp.float32)).astype(dtype)


def gelu(x: Array) -> Array:
    """The exact GELU, by the error function (not the tanh approximation).

    By `erf` as PyTorch has it: `jax.nn.gelu` takes `erfc`, which a TPU computes by long division.
    """
    return 0.5 * x * (1.0 + lax.erf(x * math.sqrt(0.5)))


def quick_gelu(x: Array) -> Array:
    """OpenAI CLIP's approximation of GELU.

    https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/activations.py#L117
    """
    gate: Array = jax.nn.sigmoid(1.702 * x)
    return x * gate


def upsample_nearest(x: Array) -> Array:
    """x [B, H, W, C] → [B, 2H, 2W, C], each pixel four times."""
    batch, height, width, channels = x.shape
    size = (batch, 2 * height, 2 * width, channels)
    resized: Array = jax.image.resize(x, size, "nearest")
    return resized


def sinusoid(values: Array, *, features: int, flip_sin_to_cos: bool, freq_shift: float) -> Array:
    """Sines and cosines of values [...] at geometric frequencies → [..., features], float32.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/embeddings.py#L27
    """
    half = features // 2
    # On the host and in torch's order of operations: an ulp here is 1e-4 rad at timestep 1000.
    exponent = np.float32(-math.log(10000.0)) * np.arange(half, dtype=np.float32)
    frequencies = jnp.asarray(np.exp(exponent / np.float32(half - freq_shift)))
    angles = values.astype(jnp.float32)[..., None] * frequencies
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    return jnp.concatenate([cos, sin] if flip_sin_to_cos else [sin, cos], axis=-1)
