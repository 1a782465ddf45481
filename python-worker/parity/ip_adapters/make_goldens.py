"""Writes tests/goldens/ip-adapters.npz: what diffusers makes with IP-Adapters. Needs torch.

python -m parity.ip_adapters.make_goldens
"""

import tempfile
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity import golden_images
from parity.ip_adapters import reference as libraries
from parity.ip_adapters.cases import IMAGE, IP_ADAPTER_CASES
from parity.ip_adapters.files import FILES, picture, unet_of

TARGET = Path(__file__).parents[2] / "tests/goldens/ip-adapters.npz"
PACKAGES = (*golden_images.PACKAGES, "accelerate", "pillow")
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
    arrays: dict[str, NDArray[Any]] = {}
    for _, group in groupby(IP_ADAPTER_CASES, lambda case: case.image.model.name):
        cases = list(group)
        model = cases[0].image.model
        models = golden_images.models_of(model)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for file in FILES:
                file.write(folder, unet_of(model))
            if model is IMAGE.model:
                arrays |= _parts(models, folder)
            images = ((case.name, libraries.run(case, models, folder)) for case in cases)
            arrays |= golden_images.reported(images)
    golden_images.write(TARGET, __spec__.name, arrays, packages=PACKAGES)


if __name__ == "__main__":
    main()
