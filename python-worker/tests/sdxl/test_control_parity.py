"""Images that follow pictures, against diffusers' pipelines with the same nets."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from easel_worker.sdxl.serving.engine import SdxlEngine
from parity.controls import ours
from parity.controls.cases import CONTROL_CASES, MODEL, ControlCase
from parity.pipeline import ours as pipeline
from tests.sdxl.conftest import FolderMaker
from tests.sdxl.engines import COMPILER

GOLDEN = Path(__file__).parents[1] / "goldens" / "controls.npz"

EngineMaker = Callable[[ControlCase], SdxlEngine]


@pytest.fixture(scope="module")
def engine_of(golden_folder: FolderMaker, tmp_path_factory: pytest.TempPathFactory) -> EngineMaker:
    """Make a case's engine. Cases share engines."""
    engines: dict[str, SdxlEngine] = {}
    nets = tmp_path_factory.mktemp("nets") / "nets"
    ours.write_nets(nets, json.loads(str(np.load(GOLDEN)["shapes"])))

    def make(case: ControlCase) -> SdxlEngine:
        if case.image.engine not in engines:
            _, folder = golden_folder(MODEL.name)
            copy = shutil.copytree(folder, tmp_path_factory.mktemp("controls") / "model")
            engines[case.image.engine] = ours.engine_for(case, copy, nets, compiler=COMPILER)
        return engines[case.image.engine]

    return make


@pytest.mark.parametrize("case", CONTROL_CASES, ids=lambda case: case.name)
def test_image_equals_diffusers(case: ControlCase, engine_of: EngineMaker) -> None:
    engine = engine_of(case)
    image, golden = ours.run(case, engine), np.load(GOLDEN)[case.name]
    assert pipeline.difference(image, golden) <= pipeline.LIMIT
    assert pipeline.share_different(image, golden) <= pipeline.SHARE_LIMIT
    assert pipeline.difference(pipeline.run(case.image, engine), golden) > 10 * pipeline.LIMIT


def test_goldens_cover_exactly_the_cases() -> None:
    assert set(np.load(GOLDEN)) == {"stamp", "shapes"} | {case.name for case in CONTROL_CASES}
