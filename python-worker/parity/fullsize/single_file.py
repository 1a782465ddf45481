"""Writes a random model as a single file, one component in memory at a time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from easel_worker.sdxl.folder.layout import COMPONENTS
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.params import declared
from parity import original_layout, synthetic
from parity.ours import declare

STORED = np.dtype(np.float16)


def write(file: Path, config: SdxlConfig) -> None:
    """Write a random model in the original layout, in fp16.

    The header comes first in a safetensors file, so the shapes are computed before the tensors.
    https://github.com/huggingface/safetensors/blob/v0.8.0/README.md#format
    """
    trees = declare(config)
    header: dict[str, Any] = {
        "__metadata__": {"modelspec.architecture": "stable-diffusion-xl-v1-base"}
    }
    end = 0
    for part in COMPONENTS:
        shapes = {p.name: _shape_of(p.stored) for p in declared(trees[part])}
        for name, array in original_layout.component(part, shapes).items():
            start, end = end, end + array.size * STORED.itemsize
            header[name] = {"dtype": "F16", "shape": array.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for part in COMPONENTS:
            params = declared(trees[part])
            weights = {
                p.name: synthetic.weight(p.name, p.stored, gain=1.0).astype(STORED) for p in params
            }
            for array in original_layout.component(part, weights).values():
                stream.write(np.ascontiguousarray(array).tobytes())


def _shape_of(shape: tuple[int, ...]) -> NDArray[Any]:
    """An array of a shape that takes no memory."""
    return np.broadcast_to(np.zeros((), STORED), shape)
