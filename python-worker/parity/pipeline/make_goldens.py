"""Writes tests/goldens/pipelines.npz: images by diffusers' own pipeline. Needs torch.

python -m parity.pipeline.make_goldens
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parity import golden, reference
from parity.components.make_goldens import FOLDER
from parity.pipeline import reference as reference_pipeline
from parity.pipeline.cases import PIPELINE_CASES, PipelineCase

TARGET = Path(__file__).parents[2] / "tests/goldens/pipelines.npz"


def make(case: PipelineCase) -> NDArray[np.uint8]:
    """Run diffusers on the weights of the model's own golden file."""
    stored = golden.load(FOLDER, case.model.name)
    models = reference.build(case.model)
    for part, model in models.items():
        weights = stored.weights(part)
        reference.fill(model, lambda name, _, w=weights: w[name].astype(np.float32))
    return reference_pipeline.run(case, models)


def main() -> None:
    """Write all golden images."""
    images = {case.name: make(case) for case in PIPELINE_CASES}
    for name, image in images.items():
        flat = np.mean((image == 0) | (image == 255))
        print(f"{name}: {image.shape}, mean {image.mean():.0f}, {flat:.0%} black or white")
    np.savez_compressed(TARGET, **images)
    print(f"{TARGET}: {TARGET.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
