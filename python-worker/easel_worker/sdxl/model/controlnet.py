"""A ControlNet: a copy of the UNet's way down that also sees a picture."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import jax
from jax import Array

from easel_worker.sdxl.model.additions import Residuals
from easel_worker.sdxl.model.config import UNetConfig
from easel_worker.sdxl.model.layers import Conv, Linear, Measured
from easel_worker.sdxl.model.params import STATIC, layer
from easel_worker.sdxl.model.unet import Conditioning, embed_conditions
from easel_worker.sdxl.model.unet_blocks import Down, Mid


@dataclass(frozen=True)
class ControlNetConfig:
    """What a ControlNet's config says.

    Attributes:
        unet: of the UNet whose way down it is like; its way up means nothing.
        picture_channels: of the convolutions that embed the picture; each but the first halves its
            sides.
        bgr: whether it takes blue first.
        added_conditions: whether it also takes the pooled prompt and the sizes.
    """

    unet: UNetConfig
    picture_channels: tuple[int, ...]
    bgr: bool
    added_conditions: bool

    @property
    def scale(self) -> int:
        """Pixels along the side of a latent."""
        return 1 << (len(self.picture_channels) - 1)


@layer
class PictureEmbedding:
    """Convolutions from a picture to the first level's size and channels."""

    conv_in: Conv
    blocks: tuple[Conv, ...]
    conv_out: Conv
    bgr: bool = field(metadata=STATIC)

    @classmethod
    def declare(cls, config: ControlNetConfig) -> Self:
        """Declare the embedding of a ControlNet's picture."""
        name, channels = "controlnet_cond_embedding", config.picture_channels
        blocks: list[Conv] = []
        for inputs, outputs in pairwise(channels):
            blocks.append(Conv.declare(f"{name}.blocks.{len(blocks)}", inputs, inputs))
            blocks.append(Conv.declare(f"{name}.blocks.{len(blocks)}", inputs, outputs, stride=2))
        first = config.unet.channels[0]
        return cls(
            Conv.declare(f"{name}.conv_in", 3, channels[0]),
            tuple(blocks),
            Conv.declare(f"{name}.conv_out", channels[-1], first),
            config.bgr,
        )

    def __call__(self, picture: Array) -> Array:
        """A picture [B, H, W, 3] of 0 to 1 → [B, h, w, channels].

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/controlnets/controlnet.py#L94
        """
        x = picture.astype(self.conv_in.weight.dtype)
        x = jax.nn.silu(self.conv_in(x[..., ::-1] if self.bgr else x))
        for block in self.blocks:
            x = jax.nn.silu(block(x))
        return self.conv_out(x)


@layer
class ControlNet:
    """The net. `skips` has a 1×1 convolution for each skip connection of the UNet."""

    conv_in: Conv
    time_embedding: Conditioning
    added_embedding: Conditioning | None
    picture: PictureEmbedding
    down: tuple[Down, ...]
    mid: Mid
    skips: tuple[Linear, ...]
    mid_out: Linear
    config: UNetConfig = field(metadata=STATIC)

    @classmethod
    def declare(cls, config: ControlNetConfig) -> Self:
        """Declare the ControlNet of a checkpoint with this config."""
        unet = config.unet
        first, time = unet.channels[0], unet.time_features
        added = None
        if config.added_conditions:
            added = Conditioning.declare("add_embedding", unet.added_features, time)
        channels = [first]
        for level, features in enumerate(unet.channels):
            last = level == len(unet.channels) - 1
            channels += [features] * (unet.layers[level] + (0 if last else 1))
        return cls(
            conv_in=Conv.declare("conv_in", unet.in_channels, first),
            time_embedding=Conditioning.declare("time_embedding", first, time),
            added_embedding=added,
            picture=PictureEmbedding.declare(config),
            down=tuple(Down.declare(unet, level) for level in range(len(unet.channels))),
            mid=Mid.declare(unet),
            skips=tuple(
                _pointwise(f"controlnet_down_blocks.{i}", features)
                for i, features in enumerate(channels)
            ),
            mid_out=_pointwise("controlnet_mid_block", unet.channels[-1]),
            config=unet,
        )

    def __call__(
        self,
        sample: Array,
        timestep: Array,
        context: Array,
        pooled: Array,
        time_ids: Array,
        *,
        picture: Array,
    ) -> Residuals:
        """What to add in the UNet, before it is scaled.

        Args:
            sample: as for `UNet`, and so are `timestep`, `context`, `pooled` and `time_ids`.
            timestep: [B].
            context: [B, tokens, context].
            pooled: [B, features].
            time_ids: [B, 6].
            picture: the embedded picture, [B, h, w, channels].

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/controlnets/controlnet.py#L621
        """
        dtype = self.conv_in.weight.dtype
        time = embed_conditions(
            self.config,
            self.time_embedding,
            self.added_embedding,
            timestep=timestep,
            pooled=pooled,
            time_ids=time_ids,
        )
        context = context.astype(dtype)
        with jax.named_scope("conv_in"):
            x = Measured(self.conv_in(sample.astype(dtype)) + picture)
        made = [x]
        for i, down in enumerate(self.down):
            with jax.named_scope(f"down_{i}"):
                x, more = down(x, time, down.project_context(context))
            made += more
        with jax.named_scope("mid"):
            x = self.mid(x, time, self.mid.project_context(context))
        with jax.named_scope("residuals"):
            skips = tuple(out(skip.image) for out, skip in zip(self.skips, made, strict=True))
            return Residuals(skips, self.mid_out(x.image))


def _pointwise(name: str, features: int) -> Linear:
    return Linear.declare(name, features, features, stored_as_conv=True)
