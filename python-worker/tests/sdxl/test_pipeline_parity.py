"""Whole images by our engine against diffusers' StableDiffusionXLPipeline, from the same noise."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from parity.our_pipeline import LIMIT, difference, run
from parity.pipeline_cases import PIPELINE_CASES, PipelineCase
from tests.sdxl.conftest import FolderMaker

GOLDEN = Path(__file__).parents[1] / "goldens" / "pipelines.npz"


@pytest.mark.parametrize("case", PIPELINE_CASES, ids=lambda case: case.name)
def test_image_equals_diffusers(
    case: PipelineCase, golden_folder: FolderMaker, tmp_path: Path
) -> None:
    _, folder = golden_folder(case.model.name)
    copy = shutil.copytree(folder, tmp_path / "model")
    image = run(case, copy)
    assert difference(image, np.load(GOLDEN)[case.name]) <= LIMIT


def test_goldens_cover_exactly_the_cases() -> None:
    assert set(np.load(GOLDEN)) == {case.name for case in PIPELINE_CASES}
