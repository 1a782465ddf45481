"""Writes tests/goldens/weights.npz: weighted prompts, their embeddings and diffusers' images.

Needs torch, and compel 2.5.1 (`pip install --no-deps compel==2.5.1`, with pyparsing):

    python -m parity.weights.make_goldens
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity import golden_images
from parity.weights import reference as weighted
from parity.weights.cases import IMAGE, WEIGHTS_CASES, arrays_of

TARGET = Path(__file__).parents[2] / "tests/goldens/weights.npz"
PACKAGES = ("torch", "transformers", "diffusers", "compel")


def main() -> None:
    """Write all golden prompts and images."""
    models = golden_images.models_of(IMAGE.model)
    arrays: dict[str, NDArray[Any]] = {
        "made by": np.array([f"{name} {version(name)}" for name in PACKAGES])
    }
    for case in WEIGHTS_CASES:
        made = weighted.encode(case, models)
        for name, array in arrays_of(made.tokens, case).items():
            arrays[f"{case.name}/{name}"] = array
        arrays[f"{case.name}/context"] = made.context[0].numpy()
        arrays[f"{case.name}/pooled"] = made.pooled[0].numpy()
        arrays[f"{case.name}/image"] = weighted.image(made, models)
        print(f"{case.name}: {made.context.shape}, masked {made.tokens.masked}")
    np.savez_compressed(TARGET, **arrays)
    print(f"{TARGET}: {TARGET.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
