"""What `build` needs after jax is imported."""

from pathlib import Path

from easel_worker.maxdiffusion.fields import check_sizes, fields_of
from easel_worker.maxdiffusion.options import Options
from easel_worker.maxdiffusion.source import find_unet
from easel_worker.maxdiffusion.unet import DOT_PRODUCT, MaxDiffusion
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.describe import describe


def other_unet(model: Path, options: Options) -> MaxDiffusion:
    """MaxDiffusion's UNet for a model.

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
    about = describe(model, options)
    fields_of(about.config.unet)
    check_sizes(about.sizes, about.config.unet, about.config.vae_scale)
    return MaxDiffusion(
        find_unet(options.maxdiffusion),
        resolve.mesh(options),
        attention=attention,
        flash_min_tokens=options.maxdiffusion_flash_min_tokens,
    )
