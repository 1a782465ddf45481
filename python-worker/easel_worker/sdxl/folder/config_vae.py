"""Reads the VAE's config.json."""

from easel_worker.sdxl.folder.config_reader import ConfigFile, ConfigReader
from easel_worker.sdxl.model.config import VaeConfig

_KEYS = {
    "act_fn",
    "block_out_channels",
    "down_block_types",
    "force_upcast",
    "in_channels",
    "latent_channels",
    "latents_mean",
    "latents_std",
    "layers_per_block",
    "mid_block_add_attention",
    "norm_num_groups",
    "out_channels",
    "sample_size",
    "scaling_factor",
    "shift_factor",
    "up_block_types",
    "use_post_quant_conv",
    "use_quant_conv",
}


def read_vae_config(file: ConfigFile) -> VaeConfig:
    """Read and check the VAE's config.

    Raises:
        ConfigError: a value is missing or unsupported.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/autoencoders/autoencoder_kl.py#L78
    """
    read = ConfigReader(file)
    channels = read.integers("block_out_channels")
    levels = len(channels)
    read.require("act_fn", "silu", "swish")
    read.require("down_block_types", ["DownEncoderBlock2D"] * levels)
    read.require("up_block_types", ["UpDecoderBlock2D"] * levels)
    # diffusers' SDXL pipeline applies no shift, so a VAE with one belongs to another pipeline.
    read.require("shift_factor", None, 0)
    read.only(_KEYS)
    latent_channels = read.integer("latent_channels", 4)
    config = VaeConfig(
        image_channels=read.integer("in_channels", 3),
        latent_channels=latent_channels,
        channels=channels,
        layers=read.integer("layers_per_block", 1),
        norm_groups=read.integer("norm_num_groups", 32),
        mid_attention=read.boolean("mid_block_add_attention", True),
        quant_conv=read.boolean("use_quant_conv", True),
        post_quant_conv=read.boolean("use_post_quant_conv", True),
        scaling_factor=read.number("scaling_factor", 0.18215),
        latents_mean=read.numbers_or_none("latents_mean", latent_channels),
        latents_std=read.numbers_or_none("latents_std", latent_channels),
        force_upcast=read.boolean("force_upcast", True),
    )
    read.require("out_channels", config.image_channels)
    read.divides("norm_num_groups", (config.norm_groups,) * levels, channels)
    if (config.latents_mean is None) != (config.latents_std is None):
        read.fail("latents_std", "latents_mean and latents_std must be set together")
    return config
