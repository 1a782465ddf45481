"""Writes tests/goldens/loras.npz: images and merged weights by diffusers, PEFT and LyCORIS.

python -m parity.loras.make_goldens

Needs torch, peft and lycoris-lora.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

from parity import golden, reference
from parity.components.make_goldens import FOLDER
from parity.loras import reference as libraries
from parity.loras.cases import IMAGE, LORA_CASES
from parity.loras.ours import fingerprint

TARGET = Path(__file__).parents[2] / "tests/goldens/loras.npz"
PACKAGES = ("torch", "diffusers", "transformers", "peft", "lycoris-lora")


def main() -> None:
    """Write the golden file."""
    models = reference.of_golden(IMAGE.model, golden.load(FOLDER, IMAGE.model.name))
    before = libraries.weights_of(models)
    stamp = {name: version(name) for name in PACKAGES}
    arrays = {"stamp": np.array(json.dumps(stamp | {"command": f"python -m {__spec__.name}"}))}
    for case in LORA_CASES:
        merged = libraries.merged(case, models)
        names, sums = fingerprint(libraries.changed(merged, before), before)
        arrays[f"{case.name}/names"] = np.array(names)
        arrays[f"{case.name}/sums"] = sums
        arrays[f"{case.name}/image"] = image = libraries.image(case, models)
        print(f"{case.name}: {len(names)} parameters, mean {image.mean():.0f}", flush=True)
    np.savez_compressed(TARGET, allow_pickle=False, **arrays)
    print(f"{TARGET}: {TARGET.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
