"""Works out what the operator's options mean for a model and the available devices."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import DTypeLike

from easel_worker.sdxl.folder.model import Dtypes
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.kernel_options import KernelOptions, choose
from easel_worker.sdxl.quantization import calibration
from easel_worker.sdxl.serving.lanes import LaneCounts
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.sharding import make_mesh
from easel_worker.values import Size

_DTYPES: dict[str, DTypeLike] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

_ROWS_PER_DEVICE = 32
"""Sixteen guided images: at 80 % load few images wait for their first step (docs/adr/0005)."""


def devices(options: Options) -> tuple[jax.Device, ...]:
    """The devices to run on."""
    return tuple(jax.devices()) if options.devices is None else tuple(options.devices)


def mesh(options: Options) -> Mesh:
    """The devices as a mesh over which arrays are split."""
    return make_mesh(devices(options), split_guidance=options.split_guidance)


def dtypes(options: Options) -> Dtypes:
    """The dtypes of the model's parts."""
    on_cpu = devices(options)[0].platform == "cpu"
    automatic = jnp.float32 if on_cpu else jnp.bfloat16
    model = _DTYPES.get(options.dtype, automatic)
    vae = _DTYPES.get(options.vae_dtype, model)
    return Dtypes(model, vae, int8=options.quantization == "int8")


def vae_tile(options: Options, scale: int) -> int | None:
    """Latents along a tile's sides; None for no tiles.

    Args:
        options: the operator's options.
        scale: pixels along the side of a latent.

    Raises:
        ValueError: tiles would not end between latents, or would be too small to overlap.
    """
    if options.vae_tile == 0:
        return None
    if options.vae_tile % (4 * scale):
        raise ValueError(f"vae_tile is {options.vae_tile}: it must be a multiple of {4 * scale}")
    return options.vae_tile // scale


def needs_encoder(options: Options, config: SdxlConfig) -> bool:
    """Whether the VAE's encoder is needed: an inpainting model has a picture in every image."""
    return options.image_inputs or config.inpaints


def calibration_file(options: Options, folder: Path | None) -> Path | None:
    """The path of the calibration for the model in a folder; None if it is not to be quantised.

    Raises:
        ValueError: the model has no folder, and no option names the file.
    """
    if options.quantization == "none":
        return None
    if options.calibration is None and folder is None:
        raise ValueError("quantization of a single file needs the option calibration")
    return options.calibration or (folder or Path()) / calibration.FILE


def kernel_options(options: Options) -> KernelOptions:
    """How attention, convolutions and int8 layers are computed.

    Raises:
        ValueError: the devices have no such kernels.
    """
    return choose(options.methods, platform(devices(options)[0]))


def platform(device: jax.Device) -> str:
    """What a device is: `tpu`, `cuda`, `rocm` or `cpu`. jax calls NVIDIA's and AMD's GPUs `gpu`."""
    kind: str = device.platform
    if kind != "gpu":
        return kind
    return "rocm" if "rocm" in device.client.platform_version else "cuda"


def rows(options: Options) -> int:
    """How many rows a step holds.

    Raises:
        ValueError: too few for a guided image.
    """
    if options.rows is not None and options.rows < 2:
        raise ValueError(f"rows is {options.rows}: a guided image needs 2")
    return options.rows or _ROWS_PER_DEVICE * len(devices(options))


def lane_counts(options: Options) -> LaneCounts:
    """How many lanes each denoising program takes on all devices together."""
    count = len(devices(options))
    counts = sorted(set(options.batch_lanes))
    shared = count // 2 if options.split_guidance else count
    return LaneCounts(
        guided=tuple(each * shared for each in counts),
        unguided=tuple(each * count for each in counts),
    )


def sizes(options: Options, preferred: Sequence[Size]) -> tuple[Size, ...]:
    """The sizes to compile for, the default first.

    Args:
        options: the operator's options.
        preferred: the sizes that the model names, its default first.
    """
    others = preferred if options.sizes is None else options.sizes
    return tuple(dict.fromkeys([preferred[0], *others]))
