"""Writes the tiny model with LoRAs for it."""

from collections.abc import Iterable
from pathlib import Path

import jax

from easel_worker.calibrate.images import calibrate
from easel_worker.sdxl.quantization import calibration
from easel_worker.sdxl.serving.options import Options
from parity.loras.files import LoraFile, shapes_of
from tests.sdxl.tiny_model import tokens, write


def write_with_loras(folder: Path, files: Iterable[LoraFile]) -> Path:
    """Write the model with its calibration, and LoRAs into its folder `loras`."""
    write(folder)
    (folder / "loras").mkdir()
    for file in files:
        file.write(folder / "loras", shapes_of(folder))
    options = Options(devices=jax.devices()[:1], max_prompt_chunks=1)
    largest = calibrate(folder, [tokens("a red circle")], options, 2, lambda _: None)
    calibration.write(folder / calibration.FILE, largest)
    return folder
