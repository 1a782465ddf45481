"""Writes golden files of whole images by diffusers. Needs torch."""

import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from parity import golden, reference
from parity.cases import Case
from parity.components.make_goldens import FOLDER

PACKAGES = ("torch", "diffusers", "transformers")

Arrays = Mapping[str, NDArray[Any]]


def models_of(model: Case) -> dict[str, reference.Model]:
    """Build a model with the weights of its own golden file, in float32.

    From then on torch has one thread: with more it adds in another order, and of 6,000 values one
    or two round the other way.
    """
    torch.set_num_threads(1)
    return reference.of_golden(model, golden.load(FOLDER, model.name))


def reported(images: Iterable[tuple[str, NDArray[np.uint8]]]) -> dict[str, NDArray[np.uint8]]:
    """Collect images by name. Prints for each what shows whether it can fail a comparison."""
    made = {}
    for name, image in images:
        made[name] = image
        flat = np.mean((image == 0) | (image == 255))
        print(f"{name}: mean {image.mean():.0f}, {flat:.0%} black or white", flush=True)
    return made


def write(target: Path, module: str, arrays: Arrays, packages: Iterable[str] = PACKAGES) -> None:
    """Write a golden file, stamped with what made it.

    Args:
        target: the file.
        module: the one that was run, by which anyone makes the file again.
        arrays: its contents.
        packages: whose versions matter.
    """
    stamp = {name: version(name) for name in packages} | {"command": f"python -m {module}"}
    stamped = {"stamp": np.array(json.dumps(stamp)), **arrays}
    np.savez_compressed(target, allow_pickle=False, **stamped)
    print(f"{target}: {target.stat().st_size // 1024} KiB")
