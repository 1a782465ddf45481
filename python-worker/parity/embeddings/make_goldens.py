"""Writes tests/goldens/embeddings.npz: an image by diffusers, with its encoded prompts.

python -m parity.embeddings.make_goldens

Needs torch and peft.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

from parity import golden, reference
from parity.components.make_goldens import FOLDER
from parity.embeddings import reference as libraries
from parity.embeddings.cases import GOLDEN_CASE, IMAGE

TARGET = Path(__file__).parents[2] / "tests/goldens/embeddings.npz"
PACKAGES = ("torch", "diffusers", "transformers", "peft")


def main() -> None:
    """Write the golden file."""
    models = reference.of_golden(IMAGE.model, golden.load(FOLDER, IMAGE.model.name))
    image, prompts = libraries.run(GOLDEN_CASE, models)
    stamp = {name: version(name) for name in PACKAGES}
    arrays = {"stamp": np.array(json.dumps(stamp | {"command": f"python -m {__spec__.name}"}))}
    arrays |= {f"prompt {i}": each for i, each in enumerate(prompts)}
    np.savez_compressed(TARGET, allow_pickle=False, image=image, **arrays)
    print(f"{TARGET}: {TARGET.stat().st_size // 1024} KiB, mean {image.mean():.0f}")


if __name__ == "__main__":
    main()
