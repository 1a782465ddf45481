"""The VAE's config.json."""

from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from easel_worker.sdxl.config_reader import ConfigReader

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


@dataclass(frozen=True)
class VaeConfig:
    """The autoencoder between pixels and latents.

    Latents relate to what the UNet sees by z = x · std / scaling_factor + mean, where mean and std
    are per channel, 0 and 1 if the config does not set them.
    """

    image_channels: int
    latent_channels: int
    channels: tuple[int, ...]
    layers: int
    norm_groups: int
    mid_attention: bool
    quant_conv: bool
    post_quant_conv: bool
    scaling_factor: float
    latents_mean: tuple[float, ...] | None
    latents_std: tuple[float, ...] | None
    force_upcast: bool

    @property
    def scale(self) -> int:
        """Pixels per latent, along each side."""
        return 1 << (len(self.channels) - 1)

    def compute_dtype(self, dtype: DTypeLike) -> DTypeLike:
        """The dtype to compute in when `dtype` is wanted.

        `force_upcast` says that activations overflow float16. bfloat16 has float32's range, so,
        as in diffusers, only float16 gives way to float32.
        """
        overflows = self.force_upcast and np.dtype(dtype) == np.float16
        return jnp.float32 if overflows else dtype


def read_vae_config(path: Path) -> VaeConfig:
    """Read and check the VAE's config.

    Raises:
        ConfigError: a value is missing or unsupported.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/autoencoders/autoencoder_kl.py#L78
    """
    read = ConfigReader(path)
    channels = read.integers("block_out_channels")
    levels = len(channels)
    read.require("act_fn", "silu", "swish")
    read.require("down_block_types", ["DownEncoderBlock2D"] * levels)
    read.require("up_block_types", ["UpDecoderBlock2D"] * levels)
    # diffusers' SDXL pipeline does not apply a shift, so a file that sets one expects another.
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
