"""Runs our engine with a refiner."""

from pathlib import Path

from easel_worker.engine import Pixels
from easel_worker.sdxl.serving.compilation import Compiler
from easel_worker.sdxl.serving.engine import SdxlEngine
from parity.ensembles.cases import EnsembleCase
from parity.pipeline import ours as pipeline


def engine_for(
    case: EnsembleCase, folder: Path, refiner: Path, *, compiler: Compiler | None = None
) -> SdxlEngine:
    """Return a warm engine for all cases whose images have one `engine`; see there."""
    case.refined.complete(refiner)
    return pipeline.engine_for(case.image, folder, refiner=refiner, compiler=compiler)


def run(case: EnsembleCase, engine: SdxlEngine) -> Pixels:
    """Return our engine's image of a case, [H, W, 3]."""
    return pipeline.make(engine, case.spec(), case.image.noise(), case.image.posterior())
