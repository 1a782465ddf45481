"""SDXL's autoencoder. Latents have an eighth of the image's width and height."""

from collections.abc import Sequence
from dataclasses import field
from typing import Self

import jax
import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl.model.attention import Attend, KeyValue, merge_heads, split_heads
from easel_worker.sdxl.model.config import VaeConfig
from easel_worker.sdxl.model.image_layers import norm_silu_conv
from easel_worker.sdxl.model.layers import Conv, GroupNorm, Linear, Measured, Padding
from easel_worker.sdxl.model.params import STATIC, layer
from easel_worker.sdxl.model.resnet import Resnet, Upsample, declare_downsample

NORM_EPS = 1e-6
DOWNSAMPLE_PADDING: Padding = ((0, 1), (0, 1))
LOGVAR_RANGE = (-30.0, 20.0)


@layer
class PixelAttention:
    """Self attention with one head over all pixels."""

    norm: GroupNorm
    q: Linear
    k: Linear
    v: Linear
    out: Linear
    attend: Attend = Attend()

    @classmethod
    def declare(cls, name: str, config: VaeConfig) -> Self:
        """Declare the attention of a checkpoint. Old checkpoints have other names for the layers.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/modeling_utils.py#L2204
        """
        channels = config.channels[-1]

        def projection(leaf: str, former: str) -> Linear:
            new, old = f"{name}.{leaf}", f"{name}.{former}"
            return Linear.declare(new, channels, channels, former_name=old)

        return cls(
            norm=_declare_norm(f"{name}.group_norm", channels, config),
            q=projection("to_q", "query"),
            k=projection("to_k", "key"),
            v=projection("to_v", "value"),
            out=projection("to_out.0", "proj_attn"),
        )

    def __call__(self, image: Array) -> Array:
        """image [B, H, W, C] → the same shape.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/attention_processor.py#L2705
        """
        with jax.named_scope("attention"):
            x = self.norm(image).reshape(image.shape[0], -1, image.shape[-1])
            query, key, value = (split_heads(linear(x), 1) for linear in (self.q, self.k, self.v))
            x = merge_heads(self.attend(query, KeyValue(key, value)))
            return image + self.out(x).reshape(image.shape)


@layer
class Mid:
    """The middle block of encoder or decoder: two residual blocks, often attention between."""

    resnets: tuple[Resnet, ...]
    attention: PixelAttention | None

    @classmethod
    def declare(cls, name: str, config: VaeConfig) -> Self:
        """Declare the middle block of one half."""
        channels, attention = config.channels[-1], None
        if config.mid_attention:
            attention = PixelAttention.declare(f"{name}.attentions.0", config)
        return cls(_declare_resnets(name, config, [channels] * 2, channels), attention)

    def __call__(self, x: Measured) -> Measured:
        """x [B, h, w, C] → the same shape."""
        with jax.named_scope("mid"):
            x = _through(self.resnets[:1], x)
            if self.attention is not None:
                x = Measured(self.attention(x.image))
            return _through(self.resnets[1:], x)


@layer
class DownLevel:
    """Residual blocks, then downsampling except at the lowest level."""

    resnets: tuple[Resnet, ...]
    downsample: Conv | None

    @classmethod
    def declare(cls, config: VaeConfig, level: int) -> Self:
        """The level of a number, from full resolution down."""
        channels = config.channels
        name, outputs = f"encoder.down_blocks.{level}", channels[level]
        sizes = [channels[max(level - 1, 0)]] + [outputs] * (config.layers - 1)
        downsample = None
        if level < len(channels) - 1:
            downsample = declare_downsample(name, outputs, DOWNSAMPLE_PADDING)
        return cls(_declare_resnets(name, config, sizes, outputs), downsample)

    def __call__(self, x: Measured) -> Measured:
        """The image at the next level down."""
        x = _through(self.resnets, x)
        return x if self.downsample is None else Measured(self.downsample(x.image))


@layer
class UpLevel:
    """Residual blocks, then upsampling except at the top level."""

    resnets: tuple[Resnet, ...]
    upsample: Upsample | None

    @classmethod
    def declare(cls, config: VaeConfig, level: int) -> Self:
        """The level of a number, from full resolution down."""
        channels = config.channels
        bottom, outputs = len(channels) - 1, channels[level]
        name = f"decoder.up_blocks.{bottom - level}"
        sizes = [channels[min(level + 1, bottom)]] + [outputs] * config.layers
        upsample = Upsample.declare(name, outputs) if level > 0 else None
        return cls(_declare_resnets(name, config, sizes, outputs), upsample)

    def __call__(self, x: Measured) -> Measured:
        """The image at the level above."""
        x = _through(self.resnets, x)
        return x if self.upsample is None else self.upsample.measured(x.image)


@layer
class Encoder:
    """Image → latents. `levels` go from full resolution down."""

    conv_in: Conv
    levels: tuple[DownLevel, ...]
    mid: Mid
    norm_out: GroupNorm
    conv_out: Conv
    quant: Linear | None

    @classmethod
    def declare(cls, config: VaeConfig) -> Self:
        """Declare the encoder of a checkpoint with this config."""
        first, last, latents = config.channels[0], config.channels[-1], config.latent_channels
        return cls(
            conv_in=Conv.declare("encoder.conv_in", config.image_channels, first),
            levels=tuple(DownLevel.declare(config, i) for i in range(len(config.channels))),
            mid=Mid.declare("encoder.mid_block", config),
            norm_out=_declare_norm("encoder.conv_norm_out", last, config),
            conv_out=Conv.declare("encoder.conv_out", last, 2 * latents),
            quant=_declare_pointwise("quant_conv", 2 * latents) if config.quant_conv else None,
        )

    def __call__(self, image: Array) -> tuple[Array, Array]:
        """The distribution of an image's latents.

        Args:
            image: [B, H, W, 3] in -1 to 1; H and W are multiples of the config's `scale`.

        Returns:
            Mean and log variance, [B, h, w, latent channels] each, in the VAE's own scale.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/autoencoders/vae.py#L155
        """
        x = image.astype(self.conv_in.weight.dtype)
        with jax.named_scope("vae_encoder"):
            features = Measured(self.conv_in(x))
            for i, level in enumerate(self.levels):
                with jax.named_scope(f"down_{i}"):
                    features = level(features)
            x = _head(self.norm_out, self.conv_out, self.mid(features))
            if self.quant is not None:
                x = self.quant(x)
            mean, logvar = jnp.split(x, 2, axis=-1)
            return mean, jnp.clip(logvar, *LOGVAR_RANGE)


@layer
class Decoder:
    """Latents → image. `levels` go from full resolution down."""

    post_quant: Linear | None
    conv_in: Conv
    mid: Mid
    levels: tuple[UpLevel, ...]
    norm_out: GroupNorm
    conv_out: Conv
    config: VaeConfig = field(metadata=STATIC)

    @classmethod
    def declare(cls, config: VaeConfig) -> Self:
        """Declare the decoder of a checkpoint with this config."""
        first, last, latents = config.channels[0], config.channels[-1], config.latent_channels
        return cls(
            post_quant=(
                _declare_pointwise("post_quant_conv", latents) if config.post_quant_conv else None
            ),
            conv_in=Conv.declare("decoder.conv_in", latents, last),
            mid=Mid.declare("decoder.mid_block", config),
            levels=tuple(UpLevel.declare(config, i) for i in range(len(config.channels))),
            norm_out=_declare_norm("decoder.conv_norm_out", first, config),
            conv_out=Conv.declare("decoder.conv_out", first, config.image_channels),
            config=config,
        )

    def __call__(self, latents: Array) -> Array:
        """Latents → image.

        Args:
            latents: [B, h, w, latent channels], in the VAE's own scale (see `unscale`).

        Returns:
            [B, H, W, 3], about -1 to 1, in the dtype of the parameters.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/autoencoders/vae.py#L282
        """
        x = latents.astype(self.conv_in.weight.dtype)
        with jax.named_scope("vae_decoder"):
            if self.post_quant is not None:
                x = self.post_quant(x)
            features = self.mid(Measured(self.conv_in(x)))
            for i, level in reversed(list(enumerate(self.levels))):
                with jax.named_scope(f"up_{i}"):
                    features = level(features)
            return _head(self.norm_out, self.conv_out, features)


@layer
class Vae:
    """Encoder and decoder, as a checkpoint holds them."""

    encoder: Encoder
    decoder: Decoder

    @classmethod
    def declare(cls, config: VaeConfig) -> Self:
        """Declare the autoencoder of a checkpoint with this config."""
        return cls(Encoder.declare(config), Decoder.declare(config))


def unscale(config: VaeConfig, latents: Array) -> Array:
    """Convert latents from the UNet's scale to the VAE's own, in float32.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl.py#L1274
    """
    latents = latents.astype(jnp.float32)
    if config.latents_mean is None or config.latents_std is None:
        return latents / config.scaling_factor
    mean, std = jnp.asarray(config.latents_mean), jnp.asarray(config.latents_std)
    return latents * std / config.scaling_factor + mean


def scale(config: VaeConfig, latents: Array) -> Array:
    """Convert float32 latents from the VAE's own scale to the UNet's: the inverse of `unscale`.

    diffusers' inpainting pipeline leaves out the mean and the standard deviation, which spoils the
    colours of models that have them. We scale as its image-to-image pipeline does.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl_img2img.py#L746
    """
    if config.latents_mean is None or config.latents_std is None:
        return latents * config.scaling_factor
    mean, std = jnp.asarray(config.latents_mean), jnp.asarray(config.latents_std)
    return (latents - mean) * config.scaling_factor / std


def _declare_norm(name: str, channels: int, config: VaeConfig) -> GroupNorm:
    return GroupNorm.declare(name, channels, groups=config.norm_groups, eps=NORM_EPS)


def _declare_pointwise(name: str, channels: int) -> Linear:
    return Linear.declare(name, channels, channels, stored_as_conv=True)


def _declare_resnets(
    name: str, config: VaeConfig, sizes: Sequence[int], outputs: int
) -> tuple[Resnet, ...]:
    """One residual block for each number of input channels."""
    return tuple(
        Resnet.declare(
            f"{name}.resnets.{i}", inputs, outputs, groups=config.norm_groups, eps=NORM_EPS
        )
        for i, inputs in enumerate(sizes)
    )


def _through(resnets: Sequence[Resnet], x: Measured) -> Measured:
    """Apply residual blocks in order."""
    for i, resnet in enumerate(resnets):
        with jax.named_scope(f"resnet_{i}"):
            x = resnet.measured(x)
    return x


def _head(norm: GroupNorm, conv: Conv, x: Measured) -> Array:
    """The last norm and convolution of encoder or decoder."""
    with jax.named_scope("conv_out"):
        return norm_silu_conv(norm, conv, x).image
