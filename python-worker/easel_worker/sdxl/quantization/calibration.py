"""The calibration file: how large the inputs of the quantised layers get.

`python -m easel_worker.calibrate` measures it while the model makes images. For each input of
`selection.shared_inputs` it holds the largest absolute value seen in each channel.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from easel_worker.sdxl.model.layers import Conv
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.quantization import selection

FILE = "int8_calibration.safetensors"
"""The file's name in a model's folder."""

Largest = NDArray[np.float32]


class CalibrationError(ValueError):
    """The file is missing or belongs to another model; the message says what to do."""


def read(file: Path, tree: UNet) -> list[Largest]:
    """Read the largest values of all inputs, in the order of `selection.shared_inputs`.

    Args:
        file: a file that `write` made.
        tree: the UNet's declarations.

    Raises:
        CalibrationError: the file is missing, unreadable, or of another model.
    """
    if not file.is_file():
        raise CalibrationError(
            f"{file} is missing: int8 needs a calibration. "
            "Make it with `npm run calibrate -- --model FOLDER`"
        )
    try:
        found = load_file(file)
    except SafetensorError as error:
        raise CalibrationError(f"{file} cannot be read: {error}") from error
    wanted = shapes(tree)
    _refuse_without_convolutions(file, found, tree)
    wrong = [name for name, shape in wanted.items() if _shape(found, name) != shape]
    wrong += [name for name in found if name not in wanted]
    if wrong:
        raise CalibrationError(
            f"{file} was made for another model: {wrong[0]} has shape {_shape(found, wrong[0])}, "
            f"the UNet's {wanted.get(wrong[0])} ({len(wrong)} such)"
        )
    return [found[name] for name in wanted]


def write(file: Path, largest: Mapping[str, Largest]) -> None:
    """Save the largest values of all inputs by name (`selection.input_names`)."""
    sizes = {name: np.asarray(size, np.float32) for name, size in largest.items()}
    # safetensors.save_file would create a file that only its owner can read.
    file.write_bytes(save(sizes))


def shapes(tree: UNet) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a UNet's calibration, in order."""
    inputs = (layers[0].weight.shape[-2] for layers in selection.shared_inputs(tree))
    names = selection.input_names(tree)
    return {name: (size,) for name, size in zip(names, inputs, strict=True)}


def _refuse_without_convolutions(file: Path, found: Mapping[str, Largest], tree: UNet) -> None:
    """Refuse a file from before int8 had convolutions, which has all names but theirs."""
    names = zip(selection.input_names(tree), selection.shared_inputs(tree), strict=True)
    convolutions = {name for name, layers in names if isinstance(layers[0], Conv)}
    others = [name for name in shapes(tree) if name not in convolutions]
    if others and set(others) == set(found):
        raise CalibrationError(
            f"{file} is from an older version, which did not measure convolutions: make it again "
            "with `npm run calibrate -- --model FOLDER`"
        )


def _shape(found: Mapping[str, Largest], name: str) -> tuple[int, ...] | None:
    return found[name].shape if name in found else None
