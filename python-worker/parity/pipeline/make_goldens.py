"""Writes tests/goldens/pipelines.npz: images by diffusers' own pipelines. Needs torch.

    python -m parity.pipeline.make_goldens [--all]

Keeps the images that the file has, and adds those of new cases; with --all it makes all again. The
file's stamp has the versions that made each image; those of before there was a stamp are absent.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parity import golden_images
from parity.components.make_goldens import PACKAGES
from parity.pipeline import reference as reference_pipeline
from parity.pipeline.cases import (
    HIRES_CASES,
    INPAINTING_CASES,
    PICTURE_CASES,
    PIPELINE_CASES,
    REFINER_CASES,
    PipelineCase,
)

ALL = (*PIPELINE_CASES, *PICTURE_CASES, *INPAINTING_CASES, *REFINER_CASES, *HIRES_CASES)
TARGET = Path(__file__).parents[2] / "tests/goldens/pipelines.npz"


def make(case: PipelineCase) -> NDArray[np.uint8]:
    """Run diffusers on the weights of the model's own golden file."""
    return reference_pipeline.run(case, golden_images.models_of(case.model))


def main() -> None:
    """Write the golden images."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--all", action="store_true", help="make the images of all cases again")
    known = {} if parser.parse_args().all or not TARGET.exists() else dict(np.load(TARGET))
    made = golden_images.reported((case.name, make(case)) for case in ALL if case.name not in known)
    images = {case.name: (known | made)[case.name] for case in ALL}
    stamp = json.loads(str(known.get("stamp", "{}")))
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    stamp |= dict.fromkeys(made, f"{versions}: python -m parity.pipeline.make_goldens")
    stamp = {name: by for name, by in stamp.items() if name in images}
    arrays = images | {"stamp": np.array(json.dumps(stamp))}
    np.savez_compressed(TARGET, allow_pickle=False, **arrays)
    print(f"{TARGET}: {TARGET.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
