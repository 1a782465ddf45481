"""Writes the golden files that the tests compare our SDXL with. Needs torch.

python -m parity.components.make_goldens
"""

import json
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity import reference, synthetic
from parity.cases import CASES, Case
from parity.golden import Golden

FOLDER = Path(__file__).parents[2] / "tests" / "goldens" / "sdxl"
PACKAGES = ("torch", "diffusers", "transformers", "numpy")
INPUT_SEED = 20


def make(case: Case) -> Golden:
    """Run the reference on synthetic weights and return its outputs."""
    models = reference.build(case)

    def values(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return synthetic.weight(name, shape, case.gain).astype(case.stored).astype(np.float32)

    for model in models.values():
        reference.fill(model, values)
    given = reference.inputs(case, INPUT_SEED)
    return Golden(
        name=case.name,
        stamp={
            **{name: version(name) for name in PACKAGES},
            "command": "python -m parity.components.make_goldens",
        },
        stored=case.stored,
        gain=case.gain,
        files=config_files(models),
        shapes=reference.shapes(models),
        inputs=given,
        outputs=reference.run(models, given),
    )


def config_files(models: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON files that the libraries write for these models, by path, without indexes."""
    with tempfile.TemporaryDirectory() as folder:
        reference.pipeline(models).save_pretrained(folder)
        paths = sorted(Path(folder).rglob("*.json"))
        return {str(p.relative_to(folder)): json.loads(p.read_text()) for p in paths}


def main() -> None:
    """Write all golden files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        make(case).save(FOLDER)
        print(f"{case.name}: {(FOLDER / f'{case.name}.npz').stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
