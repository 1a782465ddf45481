"""Writes tests/goldens/together.npz: images with several of these at once, by diffusers.

    python -m parity.together.make_goldens

Needs torch.
"""

import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parity import golden_images, reference
from parity.together import ours
from parity.together import reference as libraries
from parity.together.cases import MODELS, REFINER, TOGETHER_CASES, model_name

TARGET = Path(__file__).parents[2] / "tests/goldens/together.npz"
PACKAGES = (*golden_images.PACKAGES, "peft")


def _images() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    by_name = {model.name: model for model in MODELS}
    refiner = golden_images.models_of(REFINER)
    for name, group in groupby(TOGETHER_CASES, model_name):
        models = golden_images.models_of(by_name[name])
        with tempfile.TemporaryDirectory() as folder:
            ours.write_files(Path(folder), by_name[name], reference.shapes(models))
            for case in group:
                yield case.name, libraries.run(case, models, refiner, Path(folder))


def main() -> None:
    """Write the golden file."""
    golden_images.write(TARGET, __spec__.name, golden_images.reported(_images()), packages=PACKAGES)


if __name__ == "__main__":
    main()
