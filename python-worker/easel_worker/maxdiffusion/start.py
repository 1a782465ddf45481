"""What `build` needs after jax is imported."""

from collections.abc import Sequence
from pathlib import Path

from easel_worker.maxdiffusion.fields import check_sizes, fields_of
from easel_worker.maxdiffusion.options import Options
from easel_worker.maxdiffusion.source import find_unet
from easel_worker.maxdiffusion.unet import DOT_PRODUCT, MaxDiffusion
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.describe import describe
from easel_worker.values import Size


def other_unet(model: Path, options: Options) -> MaxDiffusion:
    """MaxDiffusion's UNet for a model. Raises as `unet_for`."""
    about = describe(model, options)
    return unet_for(about.config, about.sizes, options)


def unet_for(config: SdxlConfig, sizes: Sequence[Size], options: Options) -> MaxDiffusion:
    """MaxDiffusion's UNet for a model's config and image sizes.

    Raises:
        ValueError: MaxDiffusion is not there, or cannot compute this model or size, or these
            devices lack the kernel that was asked for; the message says what to do.
    """
    attention = options.maxdiffusion_attention
    devices = resolve.devices(options)
    platform = resolve.platform(devices[0])
    if attention != DOT_PRODUCT and (platform, len(devices)) != ("tpu", 1):
        raise ValueError(
            f"maxdiffusion_attention is {attention!r}, which takes one TPU, and the devices are "
            f"{len(devices)} of {platform}: choose {DOT_PRODUCT}"
        )
    fields_of(config.unet)
    check_sizes(sizes, config.unet, config.vae_scale)
    return MaxDiffusion(
        find_unet(options.maxdiffusion),
        resolve.mesh(options),
        attention=attention,
        flash_min_tokens=options.maxdiffusion_flash_min_tokens,
    )
