"""The UNet's levels: residual blocks, transformers where the level has them, a resampling."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl import attention, params, resnet
from easel_worker.sdxl.attention import BlockContext
from easel_worker.sdxl.config_unet import UNetConfig
from easel_worker.sdxl.layers import SAME_3X3
from easel_worker.sdxl.methods import PLAIN, Methods
from easel_worker.sdxl.params import Params, ParamTree

LevelContext = list[BlockContext]
"""The prompt's keys and values for each transformer of a level; empty where it has none."""


def declare_down(config: UNetConfig, level: int) -> ParamTree:
    """The level on the way down."""
    name, outputs = f"down_blocks.{level}", config.channels[level]
    inputs = config.channels[max(level - 1, 0)]
    sizes = [inputs if i == 0 else outputs for i in range(config.layers[level])]
    tree = _declare_level(name, config, level, sizes, attends=config.down_attention[level])
    if level < len(config.channels) - 1:
        tree["downsample"] = params.conv(f"{name}.downsamplers.0.conv", outputs, outputs, 3)
    return tree


def declare_mid(config: UNetConfig) -> ParamTree:
    """The bottom: a transformer between two residual blocks."""
    level, features = len(config.channels) - 1, config.channels[-1]
    sizes = [features, features]
    tree = _declare_level("mid_block", config, level, sizes, attends=False)
    tree["attentions"] = [_declare_transformer("mid_block.attentions.0", config, level)]
    return tree


def declare_up(config: UNetConfig, level: int) -> ParamTree:
    """The level on the way up. It also takes what the way down left at this level."""
    bottom, outputs = len(config.channels) - 1, config.channels[level]
    name = f"up_blocks.{bottom - level}"
    below = config.channels[min(level + 1, bottom)]
    above = config.channels[max(level - 1, 0)]
    count = config.layers[level] + 1
    sizes = [
        (below if i == 0 else outputs) + (above if i == count - 1 else outputs)
        for i in range(count)
    ]
    tree = _declare_level(name, config, level, sizes, attends=config.up_attention[level])
    if level > 0:
        tree["upsample"] = params.conv(f"{name}.upsamplers.0.conv", outputs, outputs, 3)
    return tree


def _declare_level(
    name: str, config: UNetConfig, level: int, sizes: Sequence[int], *, attends: bool
) -> ParamTree:
    outputs = config.channels[level]
    return {
        "resnets": [
            resnet.declare(f"{name}.resnets.{i}", inputs, outputs, config.time_features)
            for i, inputs in enumerate(sizes)
        ],
        "attentions": [
            _declare_transformer(f"{name}.attentions.{i}", config, level)
            for i in range(len(sizes) if attends else 0)
        ],
    }


def _declare_transformer(name: str, config: UNetConfig, level: int) -> ParamTree:
    return attention.declare_transformer(
        name,
        config.channels[level],
        config.context,
        config.transformer_layers[level],
        linear_projection=config.linear_projection,
    )


def project_context(tree: Params, context: Array, heads: int) -> LevelContext:
    """Keys and values of a prompt [B, tokens, C] for all transformers of a level."""
    return [attention.project_context(t, context, heads) for t in tree["attentions"]]


def down(
    tree: Params,
    config: UNetConfig,
    x: Array,
    time: Array,
    context: LevelContext,
    *,
    methods: Methods = PLAIN,
) -> tuple[Array, list[Array]]:
    """One level down: the image at the next level, and what the way up will need of this one.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/unets/unet_2d_blocks.py#L1239
    """
    skips = []
    for i, block in enumerate(tree["resnets"]):
        x = _resnet(block, config, x, time, i, methods)
        if tree["attentions"]:
            x = _transformer(tree["attentions"][i], config, x, context[i], i, methods)
        skips.append(x)
    if "downsample" in tree:
        x = resnet.downsample(tree["downsample"], x, SAME_3X3)
        skips.append(x)
    return x, skips


def mid(
    tree: Params,
    config: UNetConfig,
    x: Array,
    time: Array,
    context: LevelContext,
    *,
    methods: Methods = PLAIN,
) -> Array:
    """The bottom, x [B, h, w, C] → the same shape.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/unets/unet_2d_blocks.py#L854
    """
    x = _resnet(tree["resnets"][0], config, x, time, 0, methods)
    x = _transformer(tree["attentions"][0], config, x, context[0], 0, methods)
    return _resnet(tree["resnets"][1], config, x, time, 1, methods)


def up(
    tree: Params,
    config: UNetConfig,
    x: Array,
    time: Array,
    context: LevelContext,
    *,
    skips: list[Array],
    methods: Methods = PLAIN,
) -> Array:
    """One level up. Takes its skips off the end of `skips`, the last first.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/unets/unet_2d_blocks.py#L2405
    """
    for i, block in enumerate(tree["resnets"]):
        x = jnp.concatenate([x, skips.pop()], axis=-1)
        x = _resnet(block, config, x, time, i, methods)
        if tree["attentions"]:
            x = _transformer(tree["attentions"][i], config, x, context[i], i, methods)
    if "upsample" in tree:
        _, height, width, _ = skips[-1].shape
        x = resnet.upsample(tree["upsample"], x, (height, width), methods=methods)
    return x


def _resnet(  # noqa: PLR0917 (all of them, in the order of all the rest)
    tree: Params, config: UNetConfig, x: Array, time: Array, index: int, methods: Methods
) -> Array:
    groups, eps = config.norm_groups, config.norm_eps
    with jax.named_scope(f"resnet_{index}"):
        return resnet.apply(tree, x, time, groups=groups, eps=eps, methods=methods)


def _transformer(  # noqa: PLR0917 (as _resnet)
    tree: Params,
    config: UNetConfig,
    x: Array,
    context: BlockContext,
    index: int,
    methods: Methods,
) -> Array:
    with jax.named_scope(f"transformer_{index}"):
        return attention.transformer(tree, x, context, groups=config.norm_groups, methods=methods)
