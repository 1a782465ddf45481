"""A convolution with the norm before it and the sum after it.

Kernels fuse these where the kernel options say so.
"""

from collections.abc import Callable

import jax
from jax import Array

from easel_worker.sdxl.kernels import convolution as kernel
from easel_worker.sdxl.model.int8 import AnyConv, Int8Conv
from easel_worker.sdxl.model.layers import GroupNorm, Measured


def norm_silu_conv(
    norm: GroupNorm,
    conv: AnyConv,
    x: Measured,
    *,
    offset: Array | None = None,
    residual: Callable[[], Array] | None = None,
    measure: bool = False,
) -> Measured:
    """residual + conv(silu(norm(x))) + offset, fused where the convolution kernel supports it.

    Args:
        norm: norm of the input.
        conv: a 3×3 convolution of stride 1.
        x: [B, H, W, in].
        offset: added to every pixel of an image, [B, out]; or None.
        residual: computes what to add to the image, [B, H, W, out]; or None.
        measure: whether the kernel measures the result, for the norm that follows.

    Returns:
        [B, H, W, out].
    """
    weight, steps = _weight(conv)
    if conv.kernel_options.convolution_kernel and kernel.fits(x.image, weight):
        return Measured(
            *kernel.convolve(
                x.image,
                weight,
                conv.bias if offset is None else conv.bias + offset,
                norm.affine(x),
                steps=steps,
                residual=None if residual is None else residual(),
                measure=measure,
                interpret=conv.kernel_options.interpret,
            )
        )
    y = conv(jax.nn.silu(norm(x.image)))
    if offset is not None:
        y = y + offset[:, None, None, :]
    return Measured(y if residual is None else residual() + y)


def _weight(conv: AnyConv) -> tuple[Array, kernel.Steps | None]:
    """What the kernel multiplies, and the steps of integers."""
    if isinstance(conv, Int8Conv):
        return conv.int8, kernel.Steps(conv.gain, conv.step)
    return conv.weight, None
