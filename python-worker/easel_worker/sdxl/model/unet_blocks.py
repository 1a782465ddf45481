"""The UNet's levels: residual blocks, optional transformers, downsampling or upsampling."""

from collections.abc import Sequence
from typing import Self

import jax
from jax import Array

from easel_worker.sdxl.model.attention import BlockContext, Transformer
from easel_worker.sdxl.model.config import UNetConfig
from easel_worker.sdxl.model.layers import SAME_3X3, Conv, Measured, concatenated
from easel_worker.sdxl.model.params import layer
from easel_worker.sdxl.model.resnet import Resnet, Upsample, declare_downsample

LevelContext = list[BlockContext]
"""The prompt's keys and values for each transformer of a level; empty for a level without them."""


@layer
class Level:
    """Base of all levels: residual blocks, each followed by a transformer if the level has them."""

    resnets: tuple[Resnet, ...]
    attentions: tuple[Transformer, ...]

    def project_context(self, context: Array) -> LevelContext:
        """The keys and values of a prompt [B, tokens, C] for every transformer."""
        return [transformer.project_context(context) for transformer in self.attentions]

    def _resnet(self, index: int, x: Measured, time: Array) -> Measured:
        with jax.named_scope(f"resnet_{index}"):
            return self.resnets[index].measured(x, time)

    def _transformer(self, index: int, x: Measured, context: LevelContext) -> Measured:
        with jax.named_scope(f"transformer_{index}"):
            return Measured(self.attentions[index](x, context[index]))


@layer
class Down(Level):
    """A level on the way down. The lowest has no downsampling."""

    downsample: Conv | None

    @classmethod
    def declare(cls, config: UNetConfig, level: int) -> Self:
        """The level of a number, from full resolution down."""
        name, outputs = f"down_blocks.{level}", config.channels[level]
        inputs = config.channels[max(level - 1, 0)]
        sizes = [inputs if i == 0 else outputs for i in range(config.layers[level])]
        last = level == len(config.channels) - 1
        return cls(
            _declare_resnets(name, config, level, sizes),
            _declare_transformers(name, config, level, config.down_transformers[level]),
            None if last else declare_downsample(name, outputs, SAME_3X3),
        )

    def __call__(
        self, x: Measured, time: Array, context: LevelContext, *, feature: Array | None = None
    ) -> tuple[Measured, list[Measured]]:
        """The image at the next level, and the skip connections of this one.

        `feature` is what a T2I-Adapter adds: after the last transformer of a level that has any,
        else at the level's end. diffusers adds it there in place, so the skip connection has it.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/unets/unet_2d_blocks.py#L1239
        """
        skips: list[Measured] = []
        for i in range(len(self.resnets)):
            x = self._resnet(i, x, time)
            if self.attentions:
                x = self._transformer(i, x, context)
            if feature is not None and self.attentions and i == len(self.resnets) - 1:
                x = x.plus(feature)
            skips.append(x)
        if self.downsample is not None:
            x = Measured(self.downsample(x.image))
            skips.append(x)
        if feature is not None and not self.attentions:
            x = x.plus(feature)
            skips[-1] = x
        return x, skips


@layer
class Mid(Level):
    """The middle block: residual blocks, often with a transformer between two of them.

    SSD-1B and Vega have one residual block only, and KOALA 700M has no middle block at all.
    """

    @classmethod
    def declare(cls, config: UNetConfig) -> Self:
        """Declare the middle block of a UNet."""
        level, features = len(config.channels) - 1, config.channels[-1]
        return cls(
            _declare_resnets("mid_block", config, level, [features] * config.mid_resnets),
            _declare_transformers("mid_block", config, level, config.mid_transformers),
        )

    def __call__(self, x: Measured, time: Array, context: LevelContext) -> Measured:
        """x [B, h, w, C] → the same shape.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/unets/unet_2d_blocks.py#L854
        """
        for i in range(len(self.resnets)):
            if i > 0:
                x = self._transformer(i - 1, x, context)
            x = self._resnet(i, x, time)
        return x


@layer
class Up(Level):
    """A level on the way up. Its inputs include the skip connections of the same level."""

    upsample: Upsample | None

    @classmethod
    def declare(cls, config: UNetConfig, level: int) -> Self:
        """The level of a number, from full resolution down."""
        bottom, outputs = len(config.channels) - 1, config.channels[level]
        name = f"up_blocks.{bottom - level}"
        below = config.channels[min(level + 1, bottom)]
        above = config.channels[max(level - 1, 0)]
        count = config.layers[level] + 1
        sizes = [
            (below if i == 0 else outputs) + (above if i == count - 1 else outputs)
            for i in range(count)
        ]
        return cls(
            _declare_resnets(name, config, level, sizes),
            _declare_transformers(name, config, level, config.up_transformers[level]),
            Upsample.declare(name, outputs) if level > 0 else None,
        )

    def __call__(
        self, x: Measured, time: Array, context: LevelContext, *, skips: list[Measured]
    ) -> Measured:
        """The image at the level above. Pops its skip connections off the end of `skips`.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/unets/unet_2d_blocks.py#L2405
        """
        for i in range(len(self.resnets)):
            x = concatenated([x, skips.pop()])
            x = self._resnet(i, x, time)
            if self.attentions:
                x = self._transformer(i, x, context)
        if self.upsample is not None:
            _, height, width, _ = skips[-1].image.shape
            x = self.upsample.measured(x.image, (height, width))
        return x


def _declare_resnets(
    name: str, config: UNetConfig, level: int, sizes: Sequence[int]
) -> tuple[Resnet, ...]:
    """One residual block for each number of input channels."""
    return tuple(
        Resnet.declare(
            f"{name}.resnets.{i}",
            inputs,
            config.channels[level],
            groups=config.norm_groups,
            eps=config.norm_eps,
            time_features=config.time_features,
        )
        for i, inputs in enumerate(sizes)
    )


def _declare_transformers(
    name: str, config: UNetConfig, level: int, depths: Sequence[int]
) -> tuple[Transformer, ...]:
    """One transformer for each number of blocks."""
    return tuple(
        Transformer.declare(
            f"{name}.attentions.{i}",
            config.channels[level],
            config.context,
            depth=depth,
            heads=config.heads[level],
            groups=config.norm_groups,
            linear_projection=config.linear_projection,
        )
        for i, depth in enumerate(depths)
    )
