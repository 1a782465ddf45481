"""Writes tests/goldens/ensembles.npz: images of a base model and a refiner by diffusers.

    python -m parity.ensembles.make_goldens

Needs torch.
"""

from pathlib import Path

from parity import golden_images
from parity.ensembles import reference as libraries
from parity.ensembles.cases import ENSEMBLE_CASES, MODEL, REFINER

TARGET = Path(__file__).parents[2] / "tests/goldens/ensembles.npz"


def main() -> None:
    """Write the golden images."""
    models, refiner = golden_images.models_of(MODEL), golden_images.models_of(REFINER)
    images = ((case.name, libraries.run(case, models, refiner)) for case in ENSEMBLE_CASES)
    golden_images.write(TARGET, __spec__.name, golden_images.reported(images))


if __name__ == "__main__":
    main()
