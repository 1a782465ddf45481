"""Residual blocks, downsampling and upsampling, shared by the UNet and the VAE."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self

from jax import Array

from easel_worker.sdxl.kernels import upsampling
from easel_worker.sdxl.model.image_layers import norm_silu_conv
from easel_worker.sdxl.model.int8 import AnyConv
from easel_worker.sdxl.model.layers import (
    Conv,
    GroupNorm,
    Linear,
    Measured,
    Padding,
    upsample_nearest,
)
from easel_worker.sdxl.model.params import layer

Change = Callable[[list[Conv]], Sequence[AnyConv]]
"""Replaces convolutions that share an input."""


@layer
class Resnet:
    """A residual block. `time` is None in the VAE, `shortcut` where the channels stay the same."""

    norm1: GroupNorm
    conv1: AnyConv
    norm2: GroupNorm
    conv2: AnyConv
    time: Linear | None
    shortcut: Linear | None

    @classmethod
    def declare(
        cls,
        name: str,
        inputs: int,
        outputs: int,
        *,
        groups: int,
        eps: float,
        time_features: int | None = None,
    ) -> Self:
        """Declare a residual block from `inputs` to `outputs` channels.

        Args:
            name: its name in the checkpoint.
            inputs: channels in.
            outputs: channels out.
            groups: groups of both norms.
            eps: epsilon of both norms.
            time_features: features of the time embedding; None for a block without it.
        """

        def norm(leaf: str, features: int) -> GroupNorm:
            return GroupNorm.declare(f"{name}.{leaf}", features, groups=groups, eps=eps)

        time = shortcut = None
        if time_features is not None:
            time = Linear.declare(f"{name}.time_emb_proj", time_features, outputs)
        if inputs != outputs:
            shortcut = Linear.declare(f"{name}.conv_shortcut", inputs, outputs, stored_as_conv=True)
        return cls(
            norm1=norm("norm1", inputs),
            conv1=Conv.declare(f"{name}.conv1", inputs, outputs),
            norm2=norm("norm2", outputs),
            conv2=Conv.declare(f"{name}.conv2", outputs, outputs),
            time=time,
            shortcut=shortcut,
        )

    def __call__(self, x: Array, time: Array | None = None) -> Array:
        """x [B, H, W, in] → [B, H, W, out].

        Args:
            x: image.
            time: silu of the time embedding, [B, time features]; for a block with `time`.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/resnet.py#L319
        """
        return self.measured(Measured(x), time).image

    def measured(self, x: Measured, time: Array | None = None) -> Measured:
        """Like a call, for an image that may be measured, and measures its result if it can."""
        offset = None if self.time is None or time is None else self.time(time)
        h = norm_silu_conv(self.norm1, self.conv1, x, offset=offset, measure=True)

        def shortcut() -> Array:
            return x.image if self.shortcut is None else self.shortcut(x.image)

        return norm_silu_conv(self.norm2, self.conv2, h, residual=shortcut, measure=True)

    def replaced(self, change: Change) -> Self:
        """Replace the convolutions.

        Args:
            change: called with each.

        Raises:
            TypeError: one is no plain `Conv`, because it was replaced before.
        """
        if not (isinstance(self.conv1, Conv) and isinstance(self.conv2, Conv)):
            raise TypeError("these convolutions are already quantised")
        [conv1], [conv2] = change([self.conv1]), change([self.conv2])
        return replace(self, conv1=conv1, conv2=conv2)


def declare_downsample(name: str, channels: int, padding: Padding) -> Conv:
    """Declare the 3×3 convolution of stride 2 that halves an image's height and width.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/downsampling.py#L130

    Args:
        name: the level's name in the checkpoint.
        channels: channels in and out.
        padding: padding of the image.
    """
    conv = f"{name}.downsamplers.0.conv"
    return Conv.declare(conv, channels, channels, stride=2, padding=padding)


@layer
class Upsample:
    """Nearest-neighbour upsampling by 2, then a 3×3 convolution."""

    conv: Conv

    @classmethod
    def declare(cls, name: str, channels: int) -> Self:
        """Declare the upsampling of the level `name` of a checkpoint."""
        return cls(Conv.declare(f"{name}.upsamplers.0.conv", channels, channels))

    def __call__(self, x: Array) -> Array:
        """x [B, H, W, C] → [B, 2H, 2W, C].

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/upsampling.py#L140
        """
        return self._doubled(x, measure=False).image

    def measured(self, x: Array, size: tuple[int, int] | None = None) -> Measured:
        """Like a call, and measures its result if it can.

        Args:
            x: image.
            size: height and width to crop to, for an odd size that the downsampling rounded up.
        """
        if size is None or size == (2 * x.shape[1], 2 * x.shape[2]):
            return self._doubled(x, measure=True)
        return Measured(self.conv(upsample_nearest(x)[:, : size[0], : size[1], :]))

    def _doubled(self, x: Array, *, measure: bool) -> Measured:
        conv, options = self.conv, self.conv.kernel_options
        if options.convolution_kernel and upsampling.fits(x, conv.weight):
            return Measured(
                *upsampling.convolve_upsampled(
                    x, conv.weight, conv.bias, measure=measure, interpret=options.interpret
                )
            )
        return Measured(conv(upsample_nearest(x)))
