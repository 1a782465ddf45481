"""Whole images of our engine against diffusers' pipelines, from equal noise."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from easel_worker.sdxl.serving.engine import SdxlEngine
from parity.pipeline.cases import (
    HIRES_CASES,
    INPAINTING_CASES,
    PICTURE_CASES,
    PIPELINE_CASES,
    REFINER_CASES,
    PipelineCase,
)
from parity.pipeline.ours import (
    LIMIT,
    SHARE_LIMIT,
    difference,
    engine_for,
    run,
    share_different,
)
from tests.sdxl.conftest import FolderMaker
from tests.sdxl.engines import COMPILER

ALL = (*PIPELINE_CASES, *PICTURE_CASES, *INPAINTING_CASES, *REFINER_CASES, *HIRES_CASES)
GOLDEN = Path(__file__).parents[1] / "goldens" / "pipelines.npz"

EngineMaker = Callable[[PipelineCase], SdxlEngine]


@pytest.fixture(scope="module")
def engine_of(golden_folder: FolderMaker, tmp_path_factory: pytest.TempPathFactory) -> EngineMaker:
    """Make a case's engine. Cases share engines."""
    engines: dict[str, SdxlEngine] = {}

    def make(case: PipelineCase) -> SdxlEngine:
        if case.engine not in engines:
            _, folder = golden_folder(case.model.name)
            copy = shutil.copytree(folder, tmp_path_factory.mktemp("pipeline") / "model")
            engines[case.engine] = engine_for(case, copy, compiler=COMPILER)
        return engines[case.engine]

    return make


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_image_equals_diffusers(case: PipelineCase, engine_of: EngineMaker) -> None:
    image, golden = run(case, engine_of(case)), np.load(GOLDEN)[case.name]
    assert difference(image, golden) <= LIMIT
    assert share_different(image, golden) <= SHARE_LIMIT


def test_goldens_cover_exactly_the_cases() -> None:
    assert set(np.load(GOLDEN)) == {"stamp"} | {case.name for case in ALL}
