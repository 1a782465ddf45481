"""SDXL's autoencoder between pixels and latents of an eighth of their width and height."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl import layers, params, resnet
from easel_worker.sdxl.attention import KeyValue, attend, merge_heads, split_heads
from easel_worker.sdxl.config_vae import VaeConfig
from easel_worker.sdxl.layers import Padding
from easel_worker.sdxl.methods import PLAIN, Methods
from easel_worker.sdxl.params import Params, ParamTree

NORM_EPS = 1e-6
DOWNSAMPLE_PADDING: Padding = ((0, 1), (0, 1))
LOGVAR_RANGE = (-30.0, 20.0)


def declare(config: VaeConfig) -> ParamTree:
    """The parameters of both halves. Levels are listed from full resolution down."""
    latents = config.latent_channels
    tree = {"encoder": _declare_encoder(config), "decoder": _declare_decoder(config)}
    if config.quant_conv:
        tree["quant"] = _declare_pointwise("quant_conv", 2 * latents)
    if config.post_quant_conv:
        tree["post_quant"] = _declare_pointwise("post_quant_conv", latents)
    return tree


def decoder_only(tree: ParamTree) -> ParamTree:
    """Those declarations (or parameters) that `decode` needs."""
    return {name: tree[name] for name in ("decoder", "post_quant") if name in tree}


def _declare_pointwise(name: str, channels: int) -> ParamTree:
    return params.linear(name, channels, channels, stored_as_conv=True)


def _declare_encoder(config: VaeConfig) -> ParamTree:
    channels = config.channels
    levels = []
    for i, outputs in enumerate(channels):
        name, inputs = f"encoder.down_blocks.{i}", channels[max(i - 1, 0)]
        level: ParamTree = {"resnets": _declare_resnets(name, inputs, outputs, config.layers)}
        if i < len(channels) - 1:
            level["downsample"] = params.conv(f"{name}.downsamplers.0.conv", outputs, outputs, 3)
        levels.append(level)
    return {
        "conv_in": params.conv("encoder.conv_in", config.image_channels, channels[0], 3),
        "levels": levels,
        "mid": _declare_mid("encoder.mid_block", config),
        "norm_out": params.norm("encoder.conv_norm_out", channels[-1]),
        "conv_out": params.conv("encoder.conv_out", channels[-1], 2 * config.latent_channels, 3),
    }


def _declare_decoder(config: VaeConfig) -> ParamTree:
    channels = config.channels
    bottom = len(channels) - 1
    levels = []
    for i, outputs in enumerate(channels):
        name, inputs = f"decoder.up_blocks.{bottom - i}", channels[min(i + 1, bottom)]
        level: ParamTree = {"resnets": _declare_resnets(name, inputs, outputs, config.layers + 1)}
        if i > 0:
            level["upsample"] = params.conv(f"{name}.upsamplers.0.conv", outputs, outputs, 3)
        levels.append(level)
    return {
        "conv_in": params.conv("decoder.conv_in", config.latent_channels, channels[-1], 3),
        "mid": _declare_mid("decoder.mid_block", config),
        "levels": levels,
        "norm_out": params.norm("decoder.conv_norm_out", channels[0]),
        "conv_out": params.conv("decoder.conv_out", channels[0], config.image_channels, 3),
    }


def _declare_resnets(name: str, inputs: int, outputs: int, count: int) -> list[ParamTree]:
    return [
        resnet.declare(f"{name}.resnets.{i}", inputs if i == 0 else outputs, outputs, None)
        for i in range(count)
    ]


def _declare_mid(name: str, config: VaeConfig) -> ParamTree:
    channels = config.channels[-1]
    tree: ParamTree = {"resnets": _declare_resnets(name, channels, channels, 2)}
    if config.mid_attention:
        tree["attention"] = _declare_attention(f"{name}.attentions.0", channels)
    return tree


def _declare_attention(name: str, channels: int) -> ParamTree:
    """Old checkpoints have other names for the same layers.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/modeling_utils.py#L2204
    """

    def projection(leaf: str, former: str) -> ParamTree:
        new, old = f"{name}.{leaf}", f"{name}.{former}"
        return params.linear(new, channels, channels, former_name=old)

    return {
        "norm": params.norm(f"{name}.group_norm", channels),
        "q": projection("to_q", "query"),
        "k": projection("to_k", "key"),
        "v": projection("to_v", "value"),
        "out": projection("to_out.0", "proj_attn"),
    }


def unscale(config: VaeConfig, latents: Array) -> Array:
    """Latents as the UNet sees them → in the VAE's own scale, in float32.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl.py#L1274
    """
    latents = latents.astype(jnp.float32)
    if config.latents_mean is None or config.latents_std is None:
        return latents / config.scaling_factor
    mean, std = jnp.asarray(config.latents_mean), jnp.asarray(config.latents_std)
    return latents * std / config.scaling_factor + mean


def decode(tree: Params, config: VaeConfig, latents: Array, *, methods: Methods = PLAIN) -> Array:
    """Latents → image.

    Args:
        tree: parameters (at least `decoder_only` of them).
        config: their configuration.
        latents: [B, h, w, latent channels], in the VAE's own scale (see `unscale`).
        methods: how it is computed.

    Returns:
        [B, H, W, 3], about -1 to 1, in the dtype of the parameters.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/autoencoders/vae.py#L282
    """
    decoder = tree["decoder"]
    x = latents.astype(decoder["conv_in"]["weight"].dtype)
    with jax.named_scope("vae_decoder"):
        if "post_quant" in tree:
            x = layers.linear(tree["post_quant"], x)
        x = layers.conv(decoder["conv_in"], x)
        x = _mid(decoder["mid"], config, x, methods)
        for i in reversed(range(len(config.channels))):
            with jax.named_scope(f"up_{i}"):
                level = decoder["levels"][i]
                x = _resnets(level["resnets"], config, x, methods)
                if "upsample" in level:
                    x = resnet.upsample(level["upsample"], x, methods=methods)
        return _head(decoder, config, x, methods)


def encode(tree: Params, config: VaeConfig, image: Array) -> tuple[Array, Array]:
    """Image → the distribution of its latents.

    Args:
        tree: parameters.
        config: their configuration.
        image: [B, H, W, 3] in -1 to 1, H and W multiples of `config.scale`.

    Returns:
        Mean and logarithm of the variance, [B, h, w, latent channels] each, in the VAE's own scale.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/autoencoders/vae.py#L155
    """
    encoder = tree["encoder"]
    x = image.astype(encoder["conv_in"]["weight"].dtype)
    with jax.named_scope("vae_encoder"):
        x = layers.conv(encoder["conv_in"], x)
        for i, level in enumerate(encoder["levels"]):
            with jax.named_scope(f"down_{i}"):
                x = _resnets(level["resnets"], config, x)
                if "downsample" in level:
                    x = resnet.downsample(level["downsample"], x, DOWNSAMPLE_PADDING)
        x = _head(encoder, config, _mid(encoder["mid"], config, x))
        if "quant" in tree:
            x = layers.linear(tree["quant"], x)
        mean, logvar = jnp.split(x, 2, axis=-1)
        return mean, jnp.clip(logvar, *LOGVAR_RANGE)


def _resnets(
    trees: Sequence[Params], config: VaeConfig, x: Array, methods: Methods = PLAIN
) -> Array:
    part = partial(resnet.apply, groups=config.norm_groups, eps=NORM_EPS, methods=methods)
    for i, tree in enumerate(trees):
        with jax.named_scope(f"resnet_{i}"):
            x = part(tree, x, None)
    return x


def _mid(tree: Params, config: VaeConfig, x: Array, methods: Methods = PLAIN) -> Array:
    with jax.named_scope("mid"):
        x = _resnets(tree["resnets"][:1], config, x, methods)
        if "attention" in tree:
            x = _attention(tree["attention"], config, x, methods)
        return _resnets(tree["resnets"][1:], config, x, methods)


def _attention(tree: Params, config: VaeConfig, image: Array, methods: Methods) -> Array:
    """One head of attention between all pixels, image [B, H, W, C] → the same shape.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/attention_processor.py#L2705
    """
    with jax.named_scope("attention"):
        groups = config.norm_groups
        x = layers.group_norm(tree["norm"], image, groups=groups, eps=NORM_EPS, methods=methods)
        x = x.reshape(image.shape[0], -1, image.shape[-1])
        query, key, value = (split_heads(layers.linear(tree[n], x), 1) for n in ("q", "k", "v"))
        x = merge_heads(attend(query, KeyValue(key, value), methods=methods))
        return image + layers.linear(tree["out"], x).reshape(image.shape)


def _head(tree: Params, config: VaeConfig, x: Array, methods: Methods = PLAIN) -> Array:
    """The last norm and convolution of either half."""
    with jax.named_scope("conv_out"):
        return layers.norm_silu_conv(
            tree["norm_out"],
            tree["conv_out"],
            x,
            groups=config.norm_groups,
            eps=NORM_EPS,
            methods=methods,
        )
