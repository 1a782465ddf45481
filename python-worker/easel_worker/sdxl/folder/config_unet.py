"""Reads the UNet's config.json."""

from typing import Any

from easel_worker.sdxl.folder.config_reader import ConfigFile, ConfigReader, Depth
from easel_worker.sdxl.model.config import UNetConfig

_FIXED: tuple[tuple[Any, ...], ...] = (
    ("act_fn", "silu", "swish"),
    ("addition_embed_type", "text_time"),
    ("attention_type", "default"),
    ("center_input_sample", False),
    ("class_embed_type", None),
    ("class_embeddings_concat", False),
    ("conv_in_kernel", 3),
    ("conv_out_kernel", 3),
    ("cross_attention_norm", None),
    ("downsample_padding", 1),
    ("dual_cross_attention", False),
    ("encoder_hid_dim", None),
    ("encoder_hid_dim_type", None),
    ("mid_block_scale_factor", 1),
    ("num_attention_heads", None),
    ("num_class_embeds", None),
    ("only_cross_attention", False),
    ("resnet_out_scale_factor", 1),
    ("resnet_skip_time_act", False),
    ("resnet_time_scale_shift", "default"),
    ("time_embedding_act_fn", None),
    ("time_embedding_dim", None),
    ("time_embedding_type", "positional"),
    ("timestep_post_act", None),
)
"""Keys for which we support one meaning: the key and its accepted values."""

_READ = {
    "addition_time_embed_dim",
    "attention_head_dim",
    "block_out_channels",
    "cross_attention_dim",
    "down_block_types",
    "flip_sin_to_cos",
    "freq_shift",
    "in_channels",
    "layers_per_block",
    "mid_block_type",
    "norm_eps",
    "norm_num_groups",
    "out_channels",
    "projection_class_embeddings_input_dim",
    "reverse_transformer_layers_per_block",
    "sample_size",
    "time_cond_proj_dim",
    "transformer_layers_per_block",
    "up_block_types",
    "use_linear_projection",
}

_IGNORED = {
    "addition_embed_type_num_heads",  # used by other addition_embed_types
    "dropout",  # used in training only
    "mid_block_only_cross_attention",  # used by other mid_block_types
    "upcast_attention",  # our softmax is always float32
}

_TRANSFORMERS, _UP_TRANSFORMERS = (
    "transformer_layers_per_block",
    "reverse_transformer_layers_per_block",
)

_MID_RESNETS: dict[str | None, int] = {
    "UNetMidBlock2DCrossAttn": 2,
    "UNetMidBlock2D": 1,
    None: 0,
}
"""The residual blocks of each `mid_block_type`. Between two of them is a transformer.

https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/unets/unet_2d_blocks.py#L252
"""


def read_unet_config(file: ConfigFile) -> UNetConfig:
    """Read and check the UNet's config.

    Raises:
        ConfigError: a value is missing or unsupported.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/unets/unet_2d_condition.py#L178
    """
    read = ConfigReader(file)
    for key, *supported in _FIXED:
        read.require(key, *supported)
    read.only(_READ | _IGNORED | {key for key, *_ in _FIXED})
    channels = read.integers("block_out_channels")
    levels = len(channels)
    down = read.strings("down_block_types", ("DownBlock2D", "CrossAttnDownBlock2D"))
    up = read.strings("up_block_types", ("UpBlock2D", "CrossAttnUpBlock2D"))
    for key, blocks in (("down_block_types", down), ("up_block_types", up)):
        if len(blocks) != levels:
            read.fail(key, f"must have {levels} blocks, one for each of block_out_channels")
    layers = read.per_level("layers_per_block", levels, 2)
    mid_resnets = _mid_resnets(read)
    down_depths, up_depths = _depths(read, levels)
    mid_depth = down_depths[-1]
    config = UNetConfig(
        sample_size=read.integer("sample_size", 128),
        in_channels=read.integer("in_channels", 4),
        out_channels=read.integer("out_channels", 4),
        channels=channels,
        layers=layers,
        down_transformers=tuple(
            _each(read, _TRANSFORMERS, depth, count) if block == "CrossAttnDownBlock2D" else ()
            for block, depth, count in zip(down, down_depths, layers, strict=True)
        ),
        mid_resnets=mid_resnets,
        mid_transformers=_each(read, _TRANSFORMERS, mid_depth, 1) if mid_resnets == 2 else (),
        # The file lists the blocks on the way up from the bottom.
        up_transformers=tuple(
            _each(read, _UP_TRANSFORMERS, depth, count + 1) if block == "CrossAttnUpBlock2D" else ()
            for block, depth, count in zip(reversed(up), up_depths, layers, strict=True)
        ),
        # diffusers reads attention_head_dim as the number of heads, for compatibility.
        heads=read.per_level("attention_head_dim", levels, 8),
        context=read.integer("cross_attention_dim", 1280),
        linear_projection=read.boolean("use_linear_projection", False),
        norm_groups=read.integer("norm_num_groups", 32),
        norm_eps=read.number("norm_eps", 1e-5),
        time_id_features=read.integer("addition_time_embed_dim"),
        added_features=read.integer("projection_class_embeddings_input_dim"),
        flip_sin_to_cos=read.boolean("flip_sin_to_cos", True),
        freq_shift=read.number("freq_shift", 0),
        guidance_features=_guidance_features(read),
    )
    if config.time_id_features % 2:
        read.fail("addition_time_embed_dim", "must be even: each frequency has a sine and a cosine")
    read.divides("norm_num_groups", (config.norm_groups,) * levels, channels)
    read.divides("attention_head_dim", config.heads, channels)
    return config


def _mid_resnets(read: ConfigReader) -> int:
    key = "mid_block_type"
    read.require(key, *_MID_RESNETS)
    return _MID_RESNETS[read.values.get(key, next(iter(_MID_RESNETS)))]


def _depths(read: ConfigReader, levels: int) -> tuple[tuple[Depth, ...], tuple[Depth, ...]]:
    """The depths of the transformers on the way down and on the way up, by level."""
    down = read.depths(_TRANSFORMERS, levels, 1)
    if read.values.get(_UP_TRANSFORMERS) is not None:
        # The file lists the levels on the way up from the bottom.
        return down, tuple(reversed(read.depths(_UP_TRANSFORMERS, levels, 1)))
    if any(isinstance(depth, tuple) for depth in down):
        read.fail(_TRANSFORMERS, f"lists of a level's layers need {_UP_TRANSFORMERS}")
    return down, down


def _each(read: ConfigReader, key: str, depth: Depth, count: int) -> tuple[int, ...]:
    """The depth of each of a level's transformers."""
    if isinstance(depth, int):
        return (depth,) * count
    if len(depth) < count:
        read.fail(key, f"{list(depth)} must have a number for each of {count} transformers")
    return depth[:count]


def _guidance_features(read: ConfigReader) -> int | None:
    key = "time_cond_proj_dim"
    if read.values.get(key) is None:
        return None
    features = read.integer(key)
    if features < 4 or features % 2:
        read.fail(key, "must be null, or even and at least 4")
    return features
