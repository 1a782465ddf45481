"""Writes tests/goldens/together.npz: images with several of these at once, by diffusers.

    python -m parity.together.make_goldens

Needs torch.
"""

import json
import tempfile
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import numpy as np

from parity import golden, reference
from parity.components.make_goldens import FOLDER
from parity.together import ours
from parity.together import reference as libraries
from parity.together.cases import MODELS, TOGETHER_CASES

TARGET = Path(__file__).parents[2] / "tests/goldens/together.npz"
PACKAGES = ("torch", "diffusers", "transformers", "peft")


def main() -> None:
    """Write the golden file."""
    stamp = {name: version(name) for name in PACKAGES}
    arrays = {"stamp": np.array(json.dumps(stamp | {"command": f"python -m {__spec__.name}"}))}
    by_name = {model.name: model for model in MODELS}
    for name, group in groupby(TOGETHER_CASES, lambda case: case.image.model.name):
        models = reference.of_golden(by_name[name], golden.load(FOLDER, name))
        with tempfile.TemporaryDirectory() as folder:
            ours.write_files(Path(folder), by_name[name], reference.shapes(models))
            for case in group:
                arrays[case.name] = image = libraries.run(case, models, Path(folder))
                flat = np.mean((image == 0) | (image == 255))
                print(
                    f"{case.name}: mean {image.mean():.0f}, {flat:.0%} black or white", flush=True
                )
    np.savez_compressed(TARGET, allow_pickle=False, **arrays)
    print(f"{TARGET}: {TARGET.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
