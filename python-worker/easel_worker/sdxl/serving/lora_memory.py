"""What LoRAs need of the devices' memory, and where the source of an int8 UNet is kept."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from easel_worker.engine import DeviceMemory
from easel_worker.sdxl.folder.model import Dtypes
from easel_worker.sdxl.lora.targets import declarations
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.params import Layout, count, declared
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.quantization import selection
from easel_worker.sdxl.quantization.source import Source
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.describe import Description
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.program_set import ProgramSet

MERGING = 256 * 2**20
"""Bytes for what a merge holds for a moment: a group's weights in several forms, and factors."""

_GIB = 2**30


class LoraMemoryError(ValueError):
    """LoRAs do not fit into the devices' memory. The text says what to do."""


class LoraBytes(NamedTuple):
    """Bytes on each device.

    Attributes:
        source: of the weights that int8 layers were made from; 0 without them.
        copy: of a set of LoRAs that changes all linear layers of the UNet and the text encoders.
    """

    source: int
    copy: int


def lora_bytes(config: SdxlConfig, dtypes: Dtypes) -> LoraBytes:
    """What a model's LoRAs need besides the model itself."""
    wide = np.dtype(dtypes.model).itemsize
    groups = selection.shared_inputs(UNet.declare(config.unet)) if dtypes.int8 else []
    weights: list[Any] = [layer.weight for group in groups for layer in group]
    rounded = sum(param.size for param in weights)
    rounded_linear = sum(param.size for param in weights if param.layout is not Layout.CONV)
    linear = sum(
        param.size
        for tree in declarations(config).values()
        for param in declared(tree)
        if param.layout in (Layout.LINEAR, Layout.POINTWISE)
    )
    copy = wide * (linear - rounded_linear) + rounded_linear
    return LoraBytes(source=wide * rounded, copy=copy)


def bytes_beside(about: Description, options: Options, programs: ProgramSet) -> int:
    """Bytes that each device must have for LoRAs beside what it holds once they are to be added.

    That is when the programs of the default size are compiled. Larger sizes count as so many times
    more, and longer prompts too. ControlNets are read later.

    Args:
        about: the model's description.
        options: the operator's.
        programs: of the default size.
    """
    dtypes = resolve.dtypes(options)
    nets = sum(count(files.tree) for files in about.controls) * np.dtype(dtypes.model).itemsize
    copies = options.lora_sets * lora_bytes(about.config, dtypes).copy
    first, *_ = areas = [size.width * size.height for size in about.sizes]
    lanes = about.capabilities.rows // 2 * options.max_prompt_chunks
    return nets + copies + programs.bytes_with(lanes) * max(areas) // first + MERGING


def find_place(
    source: Source,
    needed: int,
    memory: Sequence[DeviceMemory],
    report: Callable[[str], None],
) -> None:
    """Move the source to the host's memory if the devices have no room for it beside LoRAs.

    Args:
        source: is on the devices.
        needed: bytes that each device must have besides what it holds now.
        memory: the devices'.
        report: called with a line if the source moves.

    Raises:
        LoraMemoryError: there is no room even so, and the source is released.
    """
    free, freed = min(each.bytes_limit - each.bytes_in_use for each in memory), source.nbytes
    if needed <= free:
        return
    if needed > free + freed:
        source.release()
        raise LoraMemoryError(
            f"LORAS with QUANTIZATION=int8 needs {needed / _GIB:.1f} GiB more of each device, for "
            f"LORA_SETS copies of changed weights and ROWS of images in flight, and "
            f"{(free + freed) / _GIB:.1f} GiB can be made free: lower LORA_SETS or ROWS, or leave "
            "out LORAS"
        )
    report(
        f"the weights that int8 layers are made from move to the host's memory, {freed / _GIB:.1f} "
        f"GiB: LoRAs need {needed / _GIB:.1f} GiB of each device, and {free / _GIB:.1f} GiB are "
        "free; each new set of LoRAs uploads what it changes"
    )
    source.move_to_host()
