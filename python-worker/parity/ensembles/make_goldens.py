"""Writes tests/goldens/ensembles.npz: images of a base model and a refiner by diffusers.

    python -m parity.ensembles.make_goldens

Needs torch.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

from parity import golden, reference
from parity.components.make_goldens import FOLDER
from parity.ensembles import reference as libraries
from parity.ensembles.cases import ENSEMBLE_CASES, MODEL, REFINER

TARGET = Path(__file__).parents[2] / "tests/goldens/ensembles.npz"
PACKAGES = ("torch", "diffusers", "transformers")


def main() -> None:
    """Write the golden images."""
    models, refiner = (
        reference.of_golden(each, golden.load(FOLDER, each.name)) for each in (MODEL, REFINER)
    )
    stamp = {name: version(name) for name in PACKAGES}
    arrays = {"stamp": np.array(json.dumps(stamp | {"command": f"python -m {__spec__.name}"}))}
    for case in ENSEMBLE_CASES:
        arrays[case.name] = image = libraries.run(case, models, refiner)
        flat = np.mean((image == 0) | (image == 255))
        print(f"{case.name}: mean {image.mean():.0f}, {flat:.0%} black or white", flush=True)
    np.savez_compressed(TARGET, allow_pickle=False, **arrays)
    print(f"{TARGET}: {TARGET.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
