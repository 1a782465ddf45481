"""Writes tests/goldens/controls.npz: images with ControlNets and T2I-Adapters by diffusers.

    python -m parity.controls.make_goldens

Needs torch.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

from parity import golden, reference
from parity.components.make_goldens import FOLDER
from parity.controls import reference as libraries
from parity.controls.cases import CONTROL_CASES, MODEL

TARGET = Path(__file__).parents[2] / "tests/goldens/controls.npz"
PACKAGES = ("torch", "diffusers", "transformers")


def main() -> None:
    """Write the golden file: the images, and the names and shapes of the nets' tensors."""
    models = reference.of_golden(MODEL, golden.load(FOLDER, MODEL.name))
    nets = libraries.build()
    libraries.fill_synthetic(nets)
    stamp = {name: version(name) for name in PACKAGES}
    arrays = {"stamp": np.array(json.dumps(stamp | {"command": f"python -m {__spec__.name}"}))}
    arrays["shapes"] = np.array(json.dumps(libraries.shapes(nets)))
    for case in CONTROL_CASES:
        arrays[case.name] = image = libraries.run(case, models, nets)
        flat = np.mean((image == 0) | (image == 255))
        print(f"{case.name}: mean {image.mean():.0f}, {flat:.0%} black or white", flush=True)
    np.savez_compressed(TARGET, allow_pickle=False, **arrays)
    print(f"{TARGET}: {TARGET.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
