"""Writes tests/goldens/ip-adapters.npz: what diffusers makes with IP-Adapters. Needs torch.

python -m parity.ip_adapters.make_goldens
"""

import json
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from parity import cases, golden, reference
from parity.components.make_goldens import FOLDER
from parity.ip_adapters import reference as libraries
from parity.ip_adapters.files import FILES, picture
from parity.pipeline.cases import PipelineCase

TARGET = Path(__file__).parents[2] / "tests/goldens/ip-adapters.npz"
PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "pillow")
PICTURE_SEED = 20

IMAGE = PipelineCase("ip adapters", cases.SDXL_BASE_IN_SMALL, steps=4)


def main() -> None:
    """Write the golden file."""
    models = reference.of_golden(IMAGE.model, golden.load(FOLDER, IMAGE.model.name))
    stamp = {name: version(name) for name in PACKAGES}
    arrays = {"stamp": np.array(json.dumps(stamp | {"command": f"python -m {__spec__.name}"}))}
    with tempfile.TemporaryDirectory() as name:
        for file in FILES:
            file.write(Path(name), IMAGE.model)
            pipeline = libraries.loaded(IMAGE, models, file, Path(name))
            parts = libraries.parts(pipeline, picture(PICTURE_SEED))
            arrays |= {f"{file.name} {part}": made for part, made in parts._asdict().items()}
    np.savez_compressed(TARGET, allow_pickle=False, **arrays)
    print(f"{TARGET}: {TARGET.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
