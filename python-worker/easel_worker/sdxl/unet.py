"""SDXL's UNet: predicts the noise (or velocity) in latents, given time, prompt and sizes."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl import layers, params, unet_blocks
from easel_worker.sdxl.config_unet import UNetConfig
from easel_worker.sdxl.methods import PLAIN, Methods
from easel_worker.sdxl.params import Params, ParamTree
from easel_worker.sdxl.unet_blocks import LevelContext


class Whole(NamedTuple):
    """What the whole UNet makes: the output, and the deep feature.

    The deep feature is what the top level gets from below on its way up, after the upsampling
    [B, h, w, channels below]. `apply_top` takes it instead of all that is below.
    """

    output: Array
    deep: Array


class PromptContext(NamedTuple):
    """The prompt's keys and values for every cross attention, by level from full resolution."""

    down: list[LevelContext]
    mid: LevelContext
    up: list[LevelContext]


def declare(config: UNetConfig) -> ParamTree:
    """The UNet's parameters. Levels are listed from full resolution down, on both ways."""
    first, time = config.channels[0], config.time_features
    levels = range(len(config.channels))
    return {
        "conv_in": params.conv("conv_in", config.in_channels, first, 3),
        "time_embedding": _declare_embedding("time_embedding", first, time),
        "added_embedding": _declare_embedding("add_embedding", config.added_features, time),
        "down": [unet_blocks.declare_down(config, level) for level in levels],
        "mid": unet_blocks.declare_mid(config),
        "up": [unet_blocks.declare_up(config, level) for level in levels],
        "norm_out": params.norm("conv_norm_out", first),
        "conv_out": params.conv("conv_out", first, config.out_channels, 3),
    }


def _declare_embedding(name: str, inputs: int, time: int) -> ParamTree:
    return {
        "linear_1": params.linear(f"{name}.linear_1", inputs, time),
        "linear_2": params.linear(f"{name}.linear_2", time, time),
    }


def apply(  # noqa: PLR0917 (the model has this many inputs)
    tree: Params,
    config: UNetConfig,
    sample: Array,
    timestep: Array,
    context: Array,
    pooled: Array,
    time_ids: Array,
    *,
    methods: Methods = PLAIN,
) -> Array:
    """The model's prediction for noisy latents, in the dtype of the parameters.

    Args:
        tree: parameters.
        config: their configuration.
        sample: latents [B, h, w, in_channels], already scaled for the model.
        timestep: [B], float32, in training steps (0 to 999).
        context: prompt [B, tokens, context].
        pooled: pooled prompt [B, text_encoder_2's projection].
        time_ids: original height and width, crop top and left, target height and width [B, 6].
        methods: how it is computed.

    Returns:
        [B, h, w, out_channels].

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/unets/unet_2d_condition.py#L979
    """
    prompt = project_context(tree, config, context)
    return apply_whole(
        tree, config, sample, timestep, prompt, pooled, time_ids, methods=methods
    ).output


def project_context(tree: Params, config: UNetConfig, context: Array) -> PromptContext:
    """What of a prompt [B, tokens, context] is the same at every step: keys and values."""
    with jax.named_scope("project_context"):
        context = context.astype(tree["conv_in"]["weight"].dtype)
        project = unet_blocks.project_context
        levels = range(len(config.channels))
        return PromptContext(
            down=[project(tree["down"][i], context, config.heads[i]) for i in levels],
            mid=project(tree["mid"], context, config.heads[-1]),
            up=[project(tree["up"][i], context, config.heads[i]) for i in levels],
        )


def apply_whole(  # noqa: PLR0917 (as apply)
    tree: Params,
    config: UNetConfig,
    sample: Array,
    timestep: Array,
    prompt: PromptContext,
    pooled: Array,
    time_ids: Array,
    *,
    methods: Methods = PLAIN,
) -> Whole:
    """As `apply`, for a prompt that has been through `project_context`; with the deep feature."""
    time = jax.nn.silu(_embed_conditions(tree, config, timestep, pooled, time_ids))
    x = _conv_in(tree, sample, time)
    skips = [x]
    levels = range(len(config.channels))
    down = partial(unet_blocks.down, methods=methods)
    up = partial(unet_blocks.up, methods=methods)
    for level in levels:
        with jax.named_scope(f"down_{level}"):
            x, more = down(tree["down"][level], config, x, time, prompt.down[level])
        skips += more
    with jax.named_scope("mid"):
        x = unet_blocks.mid(tree["mid"], config, x, time, prompt.mid, methods=methods)
    for level in reversed(levels):
        deep = x  # at last, of the top level
        with jax.named_scope(f"up_{level}"):
            x = up(tree["up"][level], config, x, time, prompt.up[level], skips=skips)
    return Whole(_conv_out(tree, config, x, methods), deep)


def apply_top(  # noqa: PLR0917 (as apply)
    tree: Params,
    config: UNetConfig,
    sample: Array,
    timestep: Array,
    prompt: PromptContext,
    pooled: Array,
    time_ids: Array,
    *,
    deep: Array,
    methods: Methods = PLAIN,
) -> Array:
    """As `apply_whole`, but only the level of full resolution, over an earlier deep feature.

    This is DeepCache with `cache_branch_id` 2, as far as SDXL's two layers a level are concerned.

    https://github.com/horseee/DeepCache/blob/d0c7bffcea29a612ee7d40bea4a28e74fad69edd/DeepCache/extension/deepcache.py#L24
    """
    time = jax.nn.silu(_embed_conditions(tree, config, timestep, pooled, time_ids))
    x = _conv_in(tree, sample, time)
    # What the downsampling would make goes to the levels below.
    level = {name: part for name, part in tree["down"][0].items() if name != "downsample"}
    with jax.named_scope("down_0"):
        _, more = unet_blocks.down(level, config, x, time, prompt.down[0], methods=methods)
    with jax.named_scope("up_0"):
        x = unet_blocks.up(
            tree["up"][0], config, deep, time, prompt.up[0], skips=[x, *more], methods=methods
        )
    return _conv_out(tree, config, x, methods)


def _conv_in(tree: Params, sample: Array, time: Array) -> Array:
    with jax.named_scope("conv_in"):
        return layers.conv(tree["conv_in"], sample.astype(time.dtype))


def _conv_out(tree: Params, config: UNetConfig, x: Array, methods: Methods) -> Array:
    with jax.named_scope("conv_out"):
        return layers.norm_silu_conv(
            tree["norm_out"],
            tree["conv_out"],
            x,
            groups=config.norm_groups,
            eps=config.norm_eps,
            methods=methods,
        )


def _embed_conditions(
    tree: Params, config: UNetConfig, timestep: Array, pooled: Array, time_ids: Array
) -> Array:
    """Time, pooled prompt and sizes as one embedding [B, time features].

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/unets/unet_2d_condition.py#L890
    """
    dtype = tree["conv_in"]["weight"].dtype
    with jax.named_scope("embed_conditions"):
        time = _sinusoid(config, timestep, config.channels[0]).astype(dtype)
        sizes = _sinusoid(config, time_ids, config.time_id_features).astype(dtype)
        sizes = sizes.reshape(sizes.shape[0], -1)
        added = jnp.concatenate([pooled.astype(dtype), sizes], axis=-1)
        return _embed(tree["time_embedding"], time) + _embed(tree["added_embedding"], added)


def _sinusoid(config: UNetConfig, values: Array, features: int) -> Array:
    return layers.sinusoid(
        values,
        features=features,
        flip_sin_to_cos=config.flip_sin_to_cos,
        freq_shift=config.freq_shift,
    )


def _embed(tree: Params, x: Array) -> Array:
    return layers.linear(tree["linear_2"], jax.nn.silu(layers.linear(tree["linear_1"], x)))
