"""Images with IP-Adapters against diffusers' pipelines, from equal noise."""

import shutil
from collections.abc import Callable

import numpy as np
import pytest

from easel_worker.sdxl.serving.engine import SdxlEngine
from parity.ip_adapters import ours
from parity.ip_adapters.cases import IMAGE, IP_ADAPTER_CASES, IpAdapterCase
from parity.ip_adapters.files import FILES
from parity.pipeline.ours import LIMIT, SHARE_LIMIT, difference, make, share_different
from tests.sdxl.conftest import FolderMaker
from tests.sdxl.engines import COMPILER
from tests.sdxl.test_ip_adapter_parts import GOLDEN

EngineMaker = Callable[[IpAdapterCase], SdxlEngine]


@pytest.fixture(scope="module")
def engine_of(golden_folder: FolderMaker, tmp_path_factory: pytest.TempPathFactory) -> EngineMaker:
    """Make a model's engine, once."""
    engines: dict[str, SdxlEngine] = {}

    def made(case: IpAdapterCase) -> SdxlEngine:
        model = case.image.model
        if model.name not in engines:
            _, folder = golden_folder(model.name)
            own = tmp_path_factory.mktemp("ip-adapters")
            copy = shutil.copytree(folder, own / "model")
            engines[model.name] = ours.engine_for(case, copy, own / "adapters", compiler=COMPILER)
        return engines[model.name]

    return made


@pytest.mark.parametrize("case", IP_ADAPTER_CASES, ids=lambda case: case.name)
def test_image_equals_diffusers(case: IpAdapterCase, engine_of: EngineMaker) -> None:
    image, golden = ours.image(case, engine_of(case)), np.load(GOLDEN)[case.name]
    assert difference(image, golden) <= LIMIT
    assert share_different(image, golden) <= SHARE_LIMIT


def test_an_image_with_scale_0_is_the_one_without(engine_of: EngineMaker) -> None:
    engine = engine_of(IP_ADAPTER_CASES[0])
    without = make(engine, IMAGE.spec(), IMAGE.noise())
    for case in IP_ADAPTER_CASES:
        if case.name in ("plain 0", "plus 0"):
            image = ours.image(case, engine)
            assert difference(image, without) <= LIMIT
            assert share_different(image, without) <= SHARE_LIMIT


def test_goldens_cover_exactly_the_cases() -> None:
    parts = {f"{file.name} {part}" for file in FILES for part in ours.Parts._fields}
    assert set(np.load(GOLDEN)) == {"stamp"} | parts | {case.name for case in IP_ADAPTER_CASES}
