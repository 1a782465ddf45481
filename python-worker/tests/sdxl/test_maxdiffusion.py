"""The engine of MaxDiffusion with the package that stands in for it."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from easel_worker.compile import command
from easel_worker.engine import (
    CONTROLS,
    IMAGE_TO_IMAGE,
    INPAINTING,
    IP_ADAPTERS,
    LORAS,
    Engine,
)
from easel_worker.engines import ENGINES
from easel_worker.maxdiffusion.options import Options
from easel_worker.maxdiffusion.source import find_unet
from easel_worker.maxdiffusion.start import other_unet
from easel_worker.maxdiffusion.unet import MaxDiffusion
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.values import Size
from tests.sdxl.engines import COMPILER, ahead, start
from tests.sdxl.test_engine import counted_compilations, in_company, make, mixed_specs
from tests.sdxl.tiny_model import spec, write
from tests.support.maxdiffusion import STANDIN, forget, forgotten, variant

UNET = {
    "block_out_channels": [32, 64],
    "norm_num_groups": 32,
    "layers_per_block": 2,
    "transformer_layers_per_block": [1, 2],
}
"""What MaxDiffusion can compute."""


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten():
        yield


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tiny"), UNET)


@pytest.fixture(scope="module", name="engine")
def _engine(folder: Path) -> SdxlEngine:
    with forgotten():
        return warm(folder, ahead(), sizes=None, image_inputs=True)


@pytest.fixture(scope="module", name="ours")
def _ours(folder: Path) -> SdxlEngine:
    return start(folder, sizes=None)


def warm(folder: Path, compiler: Any = COMPILER, **options: Any) -> SdxlEngine:
    """A warm engine on one device, as `ENGINES` builds it."""
    least: dict[str, Any] = {"sizes": [], "max_prompt_chunks": 1, "image_inputs": False}
    given = {"devices": jax.devices()[:1], "maxdiffusion": STANDIN} | least | options
    chosen = Options(**given)
    engine = SdxlEngine(folder, chosen, compiler=compiler, other=other_unet(folder, chosen))
    engine.warm(lambda _: None)
    return engine


def test_it_makes_our_images_where_it_computes_the_same(
    engine: SdxlEngine, ours: SdxlEngine
) -> None:
    for each in mixed_specs(16, 8):
        theirs, own = make(engine, each).astype(int), make(ours, each).astype(int)
        assert np.abs(theirs - own).max() <= 1
        assert own.std() > 1


@pytest.mark.parametrize(
    "change",
    [
        {"use_linear_projection": False, "flip_sin_to_cos": False, "freq_shift": 1},
        {
            "attention_head_dim": [2, 4],
            "transformer_layers_per_block": [1, 1],
            "layers_per_block": 1,
        },
    ],
)
def test_other_models_are_computed_too(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = write(tmp_path, UNET | change)
    wanted = spec(steps=2)
    theirs, own = make(warm(folder), wanted), make(start(folder), wanted)
    assert np.abs(theirs.astype(int) - own.astype(int)).max() <= 1


def test_kernels_that_are_mapped_over_the_device(folder: Path, ours: SdxlEngine) -> None:
    """They are for TPUs; here they stand for kernels in a `shard_map` over the engine's mesh."""
    options = Options(
        devices=jax.devices()[:1],
        sizes=[],
        max_prompt_chunks=1,
        image_inputs=False,
    )
    other = MaxDiffusion(
        find_unet(STANDIN), resolve.mesh(options), attention="flash", flash_min_tokens=1
    )
    engine = SdxlEngine(folder, options, compiler=COMPILER, other=other)
    engine.warm(lambda _: None)
    assert engine.capabilities.model.dtype == "float32+maxdiffusion-flash"
    for each in (spec(steps=2), spec(steps=2, guidance=1.0)):
        theirs, own = make(engine, each).astype(int), make(ours, each).astype(int)
        assert np.abs(theirs - own).max() <= 1


def test_an_unet_that_computes_otherwise_makes_other_images(
    tmp_path: Path, folder: Path, ours: SdxlEngine
) -> None:
    other = variant(tmp_path, "jax.nn.gelu(gate, approximate=False)", "jax.nn.relu(gate)")
    theirs = make(warm(folder, maxdiffusion=other), spec())
    assert np.abs(theirs.astype(int) - make(ours, spec()).astype(int)).max() > 1


def test_hello_says_whose_unet_it_is_and_offers_what_works(
    engine: SdxlEngine, ours: SdxlEngine
) -> None:
    can, own = engine.capabilities, ours.capabilities
    assert can.model == replace(own.model, dtype="float32+maxdiffusion")
    assert own.model.dtype == "float32"
    assert can.limits == replace(own.limits, max_loras=0, max_controls=0, max_cache_interval=1)
    assert not {LORAS, CONTROLS, IP_ADAPTERS} & {*can.features, *can.coming_features}
    assert {IMAGE_TO_IMAGE, INPAINTING} < set(can.features)
    assert (can.schedulers, can.sizes) == (own.schedulers, own.sizes)


def test_its_programs_are_counted(tmp_path: Path, folder: Path, empty_cache: Path) -> None:
    """Each has what its UNet computes: what takes more memory there is counted."""
    gelu = "jax.nn.gelu(gate, approximate=False)"
    heavier = variant(tmp_path / "heavier", gelu, "gate @ (gate.swapaxes(-1, -2) @ gate)")
    temporary = []
    for checkout in (STANDIN, heavier):
        report = tmp_path / "report.json"
        theirs = ["--engine", "maxdiffusion", "--maxdiffusion", str(checkout)]
        chosen = ["--sizes", "64x64", "--only-sizes", "--max-prompt-chunks", "1"]
        which = ["--programs", "^denoise.* guided", "--json", str(report)]
        assert command.main(["--model", str(folder), *theirs, *chosen, *which]) == 0
        [program] = json.loads(report.read_text())["programs"]
        temporary.append(program["counted"]["temporary"])
        forget()
    assert 0 < temporary[0] < temporary[1]


def test_its_flags_are_refused_without_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flag = ["--maxdiffusion-attention", "flash"]
    assert command.main(["--model", str(folder), *flag]) == 2
    assert "--maxdiffusion-attention needs --engine maxdiffusion" in capsys.readouterr().err


def test_nothing_compiles_after_warm(engine: SdxlEngine) -> None:
    programs = engine.capabilities.programs
    with counted_compilations() as seen:
        for each in mixed_specs(16, 8):
            make(engine, each)
            engine.preview(engine.start(each))
    assert seen == []
    assert engine.capabilities.programs == programs


def test_images_do_not_depend_on_other_images(engine: SdxlEngine) -> None:
    specs = mixed_specs(16, 8)
    alone = [make(engine, each) for each in specs]
    together = in_company(engine, specs, random.Random(3))
    assert [np.array_equal(*pair) for pair in zip(alone, together, strict=True)] == [True] * 7


def test_an_image_made_again_by_another_engine_has_the_same_bytes(
    engine: SdxlEngine, folder: Path
) -> None:
    with forgotten():
        again = warm(folder, ahead())
    assert np.array_equal(make(engine, spec()), make(again, spec()))


def test_two_devices_make_the_same_images(engine: SdxlEngine, folder: Path) -> None:
    two = warm(folder, devices=jax.devices()[:2])
    theirs, alone = make(two, spec()).astype(int), make(engine, spec()).astype(int)
    assert np.abs(theirs - alone).max() <= 1


def built(folder: Path, **options: Any) -> Engine:
    """An engine as a worker builds it."""
    return ENGINES["maxdiffusion"].build(folder, Options(**options), None)


def test_models_and_devices_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path, {"norm_num_groups": 16} | {"block_out_channels": [16, 32]})
    with pytest.raises(ValueError, match="norm_num_groups other than 32: set ENGINE to sdxl"):
        built(other, maxdiffusion=STANDIN)
    with pytest.raises(
        ValueError, match=r"'flash', which takes one TPU, and .* of cpu: choose dot"
    ):
        built(folder, maxdiffusion=STANDIN, maxdiffusion_attention="flash")
    with pytest.raises(ValueError, match=r"size 18x8: .* multiples of 4"):
        built(folder, maxdiffusion=STANDIN, sizes=[Size(18, 8)])
    with pytest.raises(ValueError, match="set MAXDIFFUSION to a checkout"):
        built(folder)


def test_other_parameters_than_the_models_are_refused(folder: Path, tmp_path: Path) -> None:
    other = variant(tmp_path, '"conv_norm_out"', '"norm_out"')
    with pytest.raises(ValueError, match="4 differ, first conv_norm_out/bias"):
        warm(folder, maxdiffusion=other)
