"""Images that a refiner finishes, against diffusers' two pipelines."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from easel_worker.sdxl.serving.engine import SdxlEngine
from parity.ensembles import ours
from parity.ensembles.cases import ENSEMBLE_CASES, MODEL, REFINER, EnsembleCase
from parity.pipeline import ours as pipeline
from tests.sdxl.conftest import FolderMaker
from tests.sdxl.engines import COMPILER

GOLDEN = Path(__file__).parents[1] / "goldens" / "ensembles.npz"

EngineMaker = Callable[[EnsembleCase], SdxlEngine]


@pytest.fixture(scope="module")
def engine_of(golden_folder: FolderMaker, tmp_path_factory: pytest.TempPathFactory) -> EngineMaker:
    """Make a case's engine. Cases share engines."""
    engines: dict[str, SdxlEngine] = {}

    def copy(model: str) -> Path:
        _, folder = golden_folder(model)
        return shutil.copytree(folder, tmp_path_factory.mktemp("ensembles") / "model")

    def make(case: EnsembleCase) -> SdxlEngine:
        if case.image.engine not in engines:
            folders = copy(MODEL.name), copy(REFINER.name)
            engines[case.image.engine] = ours.engine_for(case, *folders, compiler=COMPILER)
        return engines[case.image.engine]

    return make


@pytest.mark.parametrize("case", ENSEMBLE_CASES, ids=lambda case: case.name)
def test_image_equals_diffusers(case: EnsembleCase, engine_of: EngineMaker) -> None:
    engine = engine_of(case)
    image, golden = ours.run(case, engine), np.load(GOLDEN)[case.name]
    assert pipeline.difference(image, golden) <= pipeline.LIMIT
    assert pipeline.share_different(image, golden) <= pipeline.SHARE_LIMIT
    assert pipeline.difference(pipeline.run(case.image, engine), golden) > 4 * pipeline.LIMIT


def test_goldens_cover_exactly_the_cases() -> None:
    assert set(np.load(GOLDEN)) == {"stamp"} | {case.name for case in ENSEMBLE_CASES}
