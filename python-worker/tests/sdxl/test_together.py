"""Images with LoRAs, nets and IP-Adapters together, against diffusers' pipelines."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from easel_worker.sdxl.serving.engine import SdxlEngine
from parity.pipeline import ours as pipeline
from parity.together import ours
from parity.together.cases import REFINER, TOGETHER_CASES, TogetherCase
from tests.sdxl.conftest import FolderMaker
from tests.sdxl.engines import COMPILER

GOLDEN = Path(__file__).parents[1] / "goldens" / "together.npz"

EngineMaker = Callable[[TogetherCase], SdxlEngine]


@pytest.fixture(scope="module")
def engine_of(golden_folder: FolderMaker, tmp_path_factory: pytest.TempPathFactory) -> EngineMaker:
    """Make the engine of a case's model, once."""
    engines: dict[str, SdxlEngine] = {}

    def made(case: TogetherCase) -> SdxlEngine:
        model = case.image.model
        if model.name not in engines:
            golden, folder = golden_folder(model.name)
            own = tmp_path_factory.mktemp("together")
            ours.write_files(own / "files", model, golden.shapes)
            copy = shutil.copytree(folder, own / "model")
            refiner = shutil.copytree(golden_folder(REFINER.name)[1], own / "refiner")
            engines[model.name] = ours.engine_for(
                case, copy, own / "files", refiner, compiler=COMPILER
            )
        return engines[model.name]

    return made


@pytest.mark.parametrize("case", TOGETHER_CASES, ids=lambda case: case.name)
def test_image_equals_diffusers(case: TogetherCase, engine_of: EngineMaker) -> None:
    engine = engine_of(case)
    image, golden = ours.run(case, engine), np.load(GOLDEN)[case.name]
    assert pipeline.difference(image, golden) <= pipeline.LIMIT
    assert pipeline.share_different(image, golden) <= pipeline.SHARE_LIMIT
    assert pipeline.difference(ours.run(case.plain, engine), golden) > 4 * pipeline.LIMIT


def test_goldens_cover_exactly_the_cases() -> None:
    assert set(np.load(GOLDEN)) == {"stamp"} | {case.name for case in TOGETHER_CASES}
