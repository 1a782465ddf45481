"""Whole images with LoRAs against diffusers with PEFT, and LyCORIS, which keep them unmerged."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from easel_worker.sdxl.serving.engine import SdxlEngine
from parity.loras.cases import IMAGE, LORA_CASES, LoraCase
from parity.loras.files import FILES
from parity.loras.ours import spec_with
from parity.pipeline.ours import LIMIT, SHARE_LIMIT, difference, engine_for, make, share_different
from tests.sdxl.conftest import FolderMaker
from tests.sdxl.engines import COMPILER

GOLDEN = Path(__file__).parents[1] / "goldens" / "loras.npz"


@pytest.fixture(scope="module")
def engine(golden_folder: FolderMaker, tmp_path_factory: pytest.TempPathFactory) -> SdxlEngine:
    case, folder = golden_folder(IMAGE.model.name)
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("loras") / "model")
    loras = tmp_path_factory.mktemp("files")
    for file in FILES.values():
        file.write(loras, case.shapes)
    return engine_for(IMAGE, copy, loras=loras, compiler=COMPILER)


@pytest.mark.parametrize("case", LORA_CASES, ids=lambda case: case.name)
def test_image_equals_the_libraries(case: LoraCase, engine: SdxlEngine) -> None:
    image = make(engine, spec_with(case, engine), IMAGE.noise())
    golden = np.load(GOLDEN)[f"{case.name}/image"]
    assert difference(image, golden) <= LIMIT
    assert share_different(image, golden) <= SHARE_LIMIT
