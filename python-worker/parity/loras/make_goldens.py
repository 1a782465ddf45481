"""Writes tests/goldens/loras.npz: images and merged weights by diffusers, PEFT and LyCORIS.

python -m parity.loras.make_goldens

Needs torch, peft and lycoris-lora.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity import golden_images
from parity.loras import reference as libraries
from parity.loras.cases import IMAGE, LORA_CASES
from parity.loras.ours import fingerprint

TARGET = Path(__file__).parents[2] / "tests/goldens/loras.npz"
PACKAGES = (*golden_images.PACKAGES, "peft", "lycoris-lora")


def main() -> None:
    """Write the golden file."""
    models = golden_images.models_of(IMAGE.model)
    before = libraries.weights_of(models)
    arrays: dict[str, NDArray[Any]] = {}
    for case in LORA_CASES:
        merged = libraries.merged(case, models)
        names, sums = fingerprint(libraries.changed(merged, before), before)
        arrays[f"{case.name}/names"] = np.array(names)
        arrays[f"{case.name}/sums"] = sums
        arrays[f"{case.name}/image"] = image = libraries.image(case, models)
        print(f"{case.name}: {len(names)} parameters, mean {image.mean():.0f}", flush=True)
    golden_images.write(TARGET, __spec__.name, arrays, packages=PACKAGES)


if __name__ == "__main__":
    main()
