"""What the operator's options come to, for a model and the devices that are there."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import DTypeLike

from easel_worker.sdxl.folder.model import Dtypes
from easel_worker.sdxl.folder.size import Size
from easel_worker.sdxl.model.methods import Methods, choose
from easel_worker.sdxl.quantization import calibration
from easel_worker.sdxl.serving.lanes import LaneCounts
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.sharding import make_mesh

_DTYPES: dict[str, DTypeLike] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

_ROWS_PER_DEVICE = 32
"""Sixteen guided images: at 80 % load hardly one waits for its first step (docs/adr/0005)."""


def devices(options: Options) -> tuple[jax.Device, ...]:
    """The devices to run on."""
    return tuple(jax.devices()) if options.devices is None else tuple(options.devices)


def mesh(options: Options) -> Mesh:
    """The devices as arrays are split over them."""
    return make_mesh(devices(options), split_guidance=options.split_guidance)


def dtypes(options: Options) -> Dtypes:
    """What the parts of the model compute in."""
    on_cpu = devices(options)[0].platform == "cpu"
    automatic = jnp.float32 if on_cpu else jnp.bfloat16
    model = _DTYPES.get(options.dtype, automatic)
    vae = _DTYPES.get(options.vae_dtype, model)
    return Dtypes(model, vae, int8=options.quantization == "int8")


def vae_tile(options: Options, scale: int) -> int | None:
    """Latents along a tile's sides, for so many pixels a latent; None for no tiles.

    Raises:
        ValueError: tiles do not end between latents, or are too small to overlap.
    """
    if options.vae_tile == 0:
        return None
    if options.vae_tile % (4 * scale):
        raise ValueError(f"vae_tile is {options.vae_tile}: it must be a multiple of {4 * scale}")
    return options.vae_tile // scale


def calibration_file(options: Options, folder: Path) -> Path | None:
    """Where the model in a folder has its calibration; None where it is not quantised."""
    if options.quantization == "none":
        return None
    return options.calibration or folder / calibration.FILE


def methods(options: Options) -> Methods:
    """How the heavy parts of the model are computed."""
    return choose(options.methods, devices(options)[0].platform)


def rows(options: Options) -> int:
    """How many rows a step takes.

    Raises:
        ValueError: too few for a guided image.
    """
    if options.rows is not None and options.rows < 2:
        raise ValueError(f"rows is {options.rows}: a guided image needs 2")
    return options.rows or _ROWS_PER_DEVICE * len(devices(options))


def lane_counts(options: Options) -> LaneCounts:
    """How many lanes the denoising programs take on all devices together."""
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
        options: the operator's.
        preferred: the model's, its default first.
    """
    others = preferred if options.sizes is None else [Size(*size) for size in options.sizes]
    return tuple(dict.fromkeys([preferred[0], *others]))
