"""Reads the UNet's config.json."""

from typing import Any

from easel_worker.sdxl.folder.config_reader import ConfigFile, ConfigReader
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
    ("mid_block_type", "UNetMidBlock2DCrossAttn"),
    ("num_attention_heads", None),
    ("num_class_embeds", None),
    ("only_cross_attention", False),
    ("resnet_out_scale_factor", 1),
    ("resnet_skip_time_act", False),
    ("resnet_time_scale_shift", "default"),
    ("reverse_transformer_layers_per_block", None),
    ("time_cond_proj_dim", None),
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
    "norm_eps",
    "norm_num_groups",
    "out_channels",
    "projection_class_embeddings_input_dim",
    "sample_size",
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
    config = UNetConfig(
        sample_size=read.integer("sample_size", 128),
        in_channels=read.integer("in_channels", 4),
        out_channels=read.integer("out_channels", 4),
        channels=channels,
        down_attention=tuple(block == "CrossAttnDownBlock2D" for block in down),
        # The file lists these from the bottom up.
        up_attention=tuple(block == "CrossAttnUpBlock2D" for block in reversed(up)),
        layers=read.per_level("layers_per_block", levels, 2),
        transformer_layers=read.per_level("transformer_layers_per_block", levels, 1),
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
    )
    if config.time_id_features % 2:
        read.fail("addition_time_embed_dim", "must be even: each frequency has a sine and a cosine")
    read.divides("norm_num_groups", (config.norm_groups,) * levels, channels)
    read.divides("attention_head_dim", config.heads, channels)
    return config
