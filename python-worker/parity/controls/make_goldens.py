"""Writes tests/goldens/controls.npz: images with ControlNets and T2I-Adapters by diffusers.

    python -m parity.controls.make_goldens

Needs torch.
"""

import json
from pathlib import Path

import numpy as np

from parity import golden_images
from parity.controls import reference as libraries
from parity.controls.cases import CONTROL_CASES, MODEL

TARGET = Path(__file__).parents[2] / "tests/goldens/controls.npz"


def main() -> None:
    """Write the golden file: the images, and the names and shapes of the nets' tensors."""
    models, nets = golden_images.models_of(MODEL), libraries.build()
    libraries.fill_synthetic(nets)
    images = ((case.name, libraries.run(case, models, nets)) for case in CONTROL_CASES)
    shapes = np.array(json.dumps(libraries.shapes(nets)))
    golden_images.write(TARGET, __spec__.name, {"shapes": shapes, **golden_images.reported(images)})


if __name__ == "__main__":
    main()
