"""Writes tests/goldens/ip-adapters.npz: what diffusers makes with IP-Adapters. Needs torch.

python -m parity.ip_adapters.make_goldens
"""

import json
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity import golden, reference
from parity.components.make_goldens import FOLDER
from parity.ip_adapters import reference as libraries
from parity.ip_adapters.cases import IMAGE, IP_ADAPTER_CASES
from parity.ip_adapters.files import FILES, picture, unet_of

TARGET = Path(__file__).parents[2] / "tests/goldens/ip-adapters.npz"
PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "pillow")
PICTURE_SEED = 20


def _parts(models: Mapping[str, Any], folder: Path) -> dict[str, NDArray[np.float32]]:
    arrays = {}
    for file in FILES:
        pipeline = libraries.loaded(IMAGE, models, file, folder)
        parts = libraries.parts(pipeline, picture(PICTURE_SEED))
        arrays |= {f"{file.name} {part}": made for part, made in parts._asdict().items()}
    return arrays


def main() -> None:
    """Write the golden file."""
    stamp = {name: version(name) for name in PACKAGES}
    arrays = {"stamp": np.array(json.dumps(stamp | {"command": f"python -m {__spec__.name}"}))}
    for _, group in groupby(IP_ADAPTER_CASES, lambda case: case.image.model.name):
        cases = list(group)
        model = cases[0].image.model
        models = reference.of_golden(model, golden.load(FOLDER, model.name))
        with tempfile.TemporaryDirectory() as name:
            for file in FILES:
                file.write(Path(name), unet_of(model))
            if model is IMAGE.model:
                arrays |= _parts(models, Path(name))
            for case in cases:
                arrays[case.name] = image = libraries.run(case, models, Path(name))
                flat = np.mean((image == 0) | (image == 255))
                print(f"{case.name}: mean {image.mean():.0f}, {flat:.0%} black or white")
    np.savez_compressed(TARGET, allow_pickle=False, **arrays)
    print(f"{TARGET}: {TARGET.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
