"""Smaller and distilled relatives of SDXL: their size, refusals, and Easel's shortcuts with them.

`test_parity` and `test_pipeline_parity` compare them with diffusers.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easel_worker.calibrate.images import Calibration
from easel_worker.calibrate.watched import watched_unet
from easel_worker.engine import GUIDANCE_EMBEDDING, GUIDANCE_INTERVAL, Pixels
from easel_worker.sdxl.folder.config import ConfigError, load_config
from easel_worker.sdxl.folder.config_reader import ConfigFile
from easel_worker.sdxl.folder.config_unet import read_unet_config
from easel_worker.sdxl.folder.family import family
from easel_worker.sdxl.model.int8 import Int8Linear
from easel_worker.sdxl.model.params import count
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.quantization import calibration, selection
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from parity import ours
from parity.cases import KOALA_1B, KOALA_700M, LCM_SDXL, SIBLINGS, SSD_1B, VEGA, Case
from parity.pipeline.cases import PipelineCase
from parity.pipeline.ours import engine_for
from tests.sdxl.conftest import FolderMaker
from tests.sdxl.engines import COMPILER

BASE = Path(__file__).parents[3] / "models" / "sdxl-base-config"

PARAMETERS = {
    SSD_1B.name: 1_331_334_404,
    VEGA.name: 745_225_604,
    KOALA_700M.name: 782_822_724,
    KOALA_1B.name: 1_161_184_324,
    LCM_SDXL.name: 2_567_463_684 + 256 * 320,
}
"""Model cards say 1.3 B, 0.74 B, 782 M and 1,161 M; LCM-SDXL is SDXL base and a projection."""

FAMILIES = {
    SSD_1B.name: "ssd-1b",
    VEGA.name: "vega",
    KOALA_700M.name: "koala",
    KOALA_1B.name: "koala",
    LCM_SDXL.name: "lcm",
}

STRUCTURE = (
    "layers_per_block",
    "mid_block_type",
    "reverse_transformer_layers_per_block",
    "time_cond_proj_dim",
    "transformer_layers_per_block",
)


@pytest.mark.parametrize("case", SIBLINGS, ids=lambda case: case.name)
def test_a_sibling_at_full_size_has_the_published_number_of_parameters(
    case: Case, tmp_path: Path
) -> None:
    config = json.loads((BASE / "unet" / "config.json").read_text())
    config |= {key: case.unet[key] for key in STRUCTURE if key in case.unet}
    (tmp_path / "config.json").write_text(json.dumps(config))
    declared = UNet.declare(read_unet_config(ConfigFile(tmp_path / "config.json")))
    assert count(declared) == PARAMETERS[case.name]
    assert family(declared.config) == FAMILIES[case.name]


def loaded(folder: Path, given: dict[str, Any]) -> tuple[UNet, list[jax.Array], dict[str, Any]]:
    """A UNet and a golden's inputs, positional and by keyword."""
    names = ("timestep", "context", "pooled", "time_ids")
    sample = jnp.asarray(given["sample"].transpose(0, 2, 3, 1))
    more = {"guidance": jnp.asarray(given["guidance"])} if "guidance" in given else {}
    unet: UNet = ours.load(folder, jnp.float32)["unet"]
    return unet, [sample, *(jnp.asarray(given[name]) for name in names)], more


@pytest.mark.parametrize("case", SIBLINGS, ids=lambda case: case.name)
def test_a_cached_step_over_its_own_deep_feature_is_a_whole_step(
    case: Case, golden_folder: FolderMaker
) -> None:
    golden, folder = golden_folder(case.name)
    unet, (sample, timestep, context, pooled, ids), more = loaded(folder, golden.inputs)

    def both(unet: UNet) -> tuple[jax.Array, jax.Array]:
        prompt = unet.project_context(context)
        whole = unet.whole(sample, timestep, prompt, pooled, ids, **more)
        top = unet.top(sample, timestep, prompt, pooled, ids, deep=whole.deep, **more)
        return whole.output, top

    output, top = jax.jit(both)(unet)
    np.testing.assert_allclose(top, output, atol=1e-4)
    assert float(jnp.std(output)) > 0.01


@pytest.mark.parametrize("case", [SSD_1B, KOALA_700M, LCM_SDXL], ids=lambda case: case.name)
def test_a_quantised_sibling_predicts_nearly_the_same(
    case: Case, golden_folder: FolderMaker
) -> None:
    golden, folder = golden_folder(case.name)
    unet, given, more = loaded(folder, golden.inputs)
    seen = watched_unet(unet.config)(unet, *given, **more)
    names = calibration.shapes(UNet.declare(unet.config))
    quantised = selection.quantise(unet, [seen.largest[name] for name in names])
    assert isinstance(quantised.up[-1].attentions[0].blocks[-1].ff_in, Int8Linear)
    output = jax.jit(lambda unet: unet(*given, **more))(quantised)
    error = np.abs(np.asarray(output - seen.output)).mean()
    assert 0 < error < 0.1 * float(jnp.std(seen.output))


@pytest.fixture(scope="module")
def lcm_folder(golden_folder: FolderMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    _, folder = golden_folder(LCM_SDXL.name)
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("lcm") / "model")
    PIPELINE.complete(copy)
    return copy


PIPELINE = PipelineCase("lcm", LCM_SDXL, steps=2, guidance=4.0)


@pytest.fixture(scope="module")
def lcm(lcm_folder: Path) -> SdxlEngine:
    return engine_for(PIPELINE, lcm_folder, compiler=COMPILER)


def make(engine: SdxlEngine, **changes: Any) -> Pixels:
    lane = engine.start(replace(PIPELINE.spec(), **changes))
    for _ in range(lane.spec.steps):
        engine.step([lane])
    return engine.finish(lane)


def test_guidance_of_lcm_is_an_input_and_takes_no_second_row(lcm: SdxlEngine) -> None:
    assert GUIDANCE_EMBEDDING in lcm.capabilities.features
    assert GUIDANCE_INTERVAL not in lcm.capabilities.features
    assert PIPELINE.spec().guidance > 1
    assert PIPELINE.spec().rows == 1
    weak, strong = make(lcm, guidance=2.0), make(lcm, guidance=8.0)
    assert not np.array_equal(weak, strong)
    unused = replace(PIPELINE, negative="dark").spec().negative
    np.testing.assert_array_equal(make(lcm, guidance=2.0, negative=unused), weak)


def test_a_calibration_of_lcm_makes_the_same_image_as_a_worker(
    lcm: SdxlEngine, lcm_folder: Path
) -> None:
    guidance = lcm.capabilities.defaults.guidance_scale
    scheduler = lcm.capabilities.defaults.scheduler
    lane = lcm.start(replace(PIPELINE.spec(), guidance=guidance, scheduler=scheduler))
    for _ in range(lane.spec.steps):
        lcm.step([lane])
    options = Options(dtype="float32", devices=jax.devices()[:1])
    made = Calibration(lcm_folder, options, lambda _: None).add(
        lane.spec.prompt, lane.spec.seed, lane.spec.steps
    )
    np.testing.assert_allclose(made, lane.state.sample, atol=1e-4)


def test_a_unet_that_takes_guidance_as_an_input_asks_for_it(golden_folder: FolderMaker) -> None:
    golden, folder = golden_folder(LCM_SDXL.name)
    unet, given, _ = loaded(folder, golden.inputs)
    with pytest.raises(ValueError, match="guidance scale as an input"):
        unet(*given)


def test_reads_the_configs_of_an_inpainting_model(tmp_path: Path) -> None:
    """Those of SDXL inpainting 0.1 differ from SDXL base's in these."""
    folder = shutil.copytree(BASE, tmp_path / "model")
    for file, changes in (
        ("model_index.json", {"_class_name": "StableDiffusionXLInpaintPipeline"}),
        ("unet/config.json", {"in_channels": 9}),
    ):
        values = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(values | changes))
    assert load_config(folder).inpaints
    assert not load_config(BASE).inpaints


def test_refuses_lists_of_layers_without_those_of_the_way_up(tmp_path: Path) -> None:
    config = json.loads((BASE / "unet" / "config.json").read_text())
    file = tmp_path / "config.json"

    def read(**changes: Any) -> None:
        file.write_text(json.dumps(config | changes))
        read_unet_config(ConfigFile(file))

    with pytest.raises(ConfigError, match="need reverse_transformer_layers_per_block"):
        read(transformer_layers_per_block=[1, [2, 2], 10])
    with pytest.raises(ConfigError, match=r"\[10, 10\] must have a number for each of 3"):
        read(reverse_transformer_layers_per_block=[[10, 10], 2, 1])
