"""A T2I-Adapter for SDXL (diffusers' `full_adapter_xl`): features of a picture for each level."""

from dataclasses import dataclass, field
from typing import Self

import jax
import jax.numpy as jnp
from jax import Array, lax

from easel_worker.sdxl.model.additions import Shape
from easel_worker.sdxl.model.layers import Conv, Linear
from easel_worker.sdxl.model.params import STATIC, layer

_HALVED = 2
"""The block before which the features are halved."""


@dataclass(frozen=True)
class AdapterConfig:
    """What a T2I-Adapter's config says.

    Attributes:
        inputs: channels of the picture: 3, or 1 for shades of grey.
        channels: of each block's features.
        layers: residual blocks of each block.
        scale: pixels along the side of a first feature.
    """

    inputs: int
    channels: tuple[int, ...]
    layers: int
    scale: int

    def shapes(self, height: int, width: int) -> tuple[Shape, ...]:
        """The shapes [h, w, channels] of the features of a picture of a size in pixels."""
        height, width = height // self.scale, width // self.scale
        halved = -(-height // 2), -(-width // 2)
        return tuple(
            (*(halved if block >= _HALVED else (height, width)), channels)
            for block, channels in enumerate(self.channels)
        )


@layer
class AdapterResnet:
    """x + a convolution of 1×1 of the ReLU of a convolution."""

    block1: Conv
    block2: Linear

    @classmethod
    def declare(cls, name: str, features: int) -> Self:
        """Declare a residual block."""
        block2 = Linear.declare(f"{name}.block2", features, features, stored_as_conv=True)
        return cls(Conv.declare(f"{name}.block1", features, features), block2)

    def __call__(self, x: Array) -> Array:
        """x [B, h, w, C] → the same shape.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/adapter.py#L448
        """
        return self.block2(jax.nn.relu(self.block1(x))) + x


@layer
class AdapterBlock:
    """Residual blocks, with a convolution of 1×1 before them where the channels change."""

    in_conv: Linear | None
    resnets: tuple[AdapterResnet, ...]
    halve: bool = field(metadata=STATIC)

    @classmethod
    def declare(cls, name: str, inputs: int, outputs: int, layers: int, *, halve: bool) -> Self:
        """Declare a block."""
        in_conv = None
        if inputs != outputs:
            in_conv = Linear.declare(f"{name}.in_conv", inputs, outputs, stored_as_conv=True)
        resnets = (AdapterResnet.declare(f"{name}.resnets.{i}", outputs) for i in range(layers))
        return cls(in_conv, tuple(resnets), halve)

    def __call__(self, x: Array) -> Array:
        """x [B, h, w, in] → [B, h', w', out].

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/adapter.py#L408
        """
        x = _halve(x) if self.halve else x
        x = x if self.in_conv is None else self.in_conv(x)
        for resnet in self.resnets:
            x = resnet(x)
        return x


@layer
class T2IAdapter:
    """The whole adapter."""

    conv_in: Conv
    body: tuple[AdapterBlock, ...]
    config: AdapterConfig = field(metadata=STATIC)

    @classmethod
    def declare(cls, config: AdapterConfig) -> Self:
        """Declare the adapter of a checkpoint with this config.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/adapter.py#L331
        """
        channels = config.channels
        # Only these two blocks take the channels of the one before; the checkpoint's rule.
        inputs = [
            channels[i - 1] if i in (1, _HALVED) else channels[i] for i in range(len(channels))
        ]
        body = tuple(
            AdapterBlock.declare(
                f"adapter.body.{i}", inputs[i], channels[i], config.layers, halve=i == _HALVED
            )
            for i in range(len(channels))
        )
        unshuffled = config.inputs * config.scale**2
        return cls(Conv.declare("adapter.conv_in", unshuffled, channels[0]), body, config)

    def __call__(self, picture: Array) -> tuple[Array, ...]:
        """The features of pictures [B, H, W, inputs] of 0 to 1: [B, h, w, channels] each.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/adapter.py#L365
        """
        x = _unshuffle(picture, self.config.scale).astype(self.conv_in.weight.dtype)
        x = self.conv_in(x)
        features = []
        for block in self.body:
            x = block(x)
            features.append(x)
        return tuple(features)


def _unshuffle(x: Array, scale: int) -> Array:
    """Blocks of pixels become channels: [B, H, W, C] → [B, H/s, W/s, C·s²], as in torch."""
    batch, height, width, channels = x.shape
    blocks = x.reshape(batch, height // scale, scale, width // scale, scale, channels)
    ordered = blocks.transpose(0, 1, 3, 5, 2, 4)
    return ordered.reshape(batch, height // scale, width // scale, channels * scale**2)


def _halve(x: Array) -> Array:
    """The mean of each 2×2 block of [B, H, W, C]; at an odd end of fewer pixels."""
    window, padding = (1, 2, 2, 1), [(0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)]

    def summed(values: Array) -> Array:
        total: Array = lax.reduce_window(values, 0.0, lax.add, window, window, padding)
        return total

    counted = summed(jnp.ones((1, *x.shape[1:3], 1), jnp.float32))
    return (summed(x.astype(jnp.float32)) / counted).astype(x.dtype)
