"""What a worker reads from a model folder before the weights."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from easel_worker.engine import InvalidRequest, Limits, Tokens
from easel_worker.sdxl.folder.config import ConfigError
from easel_worker.sdxl.folder.easel_json import EaselJsonError
from easel_worker.sdxl.folder.files import locate
from easel_worker.sdxl.folder.identity import model_digest
from easel_worker.sdxl.samplers.config import SchedulerError
from easel_worker.sdxl.serving.describe import describe
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from easel_worker.text_file import TextFileError
from easel_worker.values import Size
from parity import stub_tokenizer
from parity.pipeline.cases import PIPELINE_CASES
from parity.schedulers.cases import EDM
from tests.sdxl.conftest import FolderMaker

CASE = PIPELINE_CASES[0]
OPTIONS = Options()


@pytest.fixture
def folder(golden_folder: FolderMaker, tmp_path: Path) -> Path:
    """A complete model folder for a test to change."""
    _, parts = golden_folder(CASE.model.name)
    copy = Path(shutil.copytree(parts, tmp_path / "tiny"))
    CASE.complete(copy)
    return copy


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a JSON file in place."""
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_capabilities(folder: Path) -> None:
    about = describe(folder, OPTIONS)
    can = about.capabilities
    assert can.model.id == "tiny"
    assert can.model.dtype == "float32"
    assert can.sizes == ((64, 32),)
    assert can.defaults.scheduler == "euler"
    assert (can.defaults.num_inference_steps, can.defaults.guidance_scale) == (40, 5.0)
    assert [(t.pad_id, t.max_length) for t in can.tokenizers] == [(999, 77), (0, 77)]
    assert len({t.digest for t in can.tokenizers}) == 1  # of one vocabulary
    assert about.empty_text == Tokens((998, *[999] * 76), (998, 999, *[0] * 75))
    assert about.capabilities.limits.max_clip_skip == 1


def test_without_easel_json_the_unet_decides_the_default_size(folder: Path) -> None:
    (folder / "easel.json").unlink()
    edit(folder / "unet" / "config.json", lambda values: values.update(sample_size=24))
    about = describe(folder, OPTIONS)
    side = 24 * about.config.vae_scale
    can = about.capabilities
    assert can.sizes == ((side, side),)
    assert (can.defaults.width, can.defaults.height) == (side, side)
    assert (can.defaults.num_inference_steps, can.defaults.guidance_scale) == (40, 5.0)


@pytest.mark.parametrize(
    ("scheduler", "steps", "guidance"),
    [
        ({"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}, 1, 0),
        ({"_class_name": "EulerAncestralDiscreteScheduler"}, 40, 5),
        ({"_class_name": "LCMScheduler"}, 4, 1),
        ({"_class_name": "TCDScheduler"}, 4, 0),
        ({"_class_name": "EDMDPMSolverMultistepScheduler"}, 50, 3),
    ],
)
def test_few_step_models_get_their_own_steps_and_guidance(
    folder: Path, scheduler: dict[str, Any], steps: int, guidance: float
) -> None:
    (folder / "easel.json").unlink()
    edit(folder / "unet" / "config.json", lambda values: values.update(sample_size=64))
    edit(folder / "scheduler" / "scheduler_config.json", lambda values: values.update(**scheduler))
    defaults = describe(folder, OPTIONS).capabilities.defaults
    assert (defaults.num_inference_steps, defaults.guidance_scale) == (steps, guidance)


def test_easel_json_sets_defaults_and_sizes(folder: Path) -> None:
    wanted = {
        "defaults": {"width": 32, "height": 64, "num_inference_steps": 7, "scheduler": "ddim"},
        "sizes": [[64, 64], [32, 64]],
    }
    (folder / "easel.json").write_text(json.dumps(wanted))
    can = describe(folder, OPTIONS).capabilities
    assert can.sizes == ((32, 64), (64, 64))
    assert (can.defaults.num_inference_steps, can.defaults.scheduler) == (7, "ddim")


def test_the_operators_sizes_replace_the_models_except_the_default(folder: Path) -> None:
    edit(folder / "easel.json", lambda values: values.update(sizes=[[128, 128]]))
    can = describe(folder, Options(sizes=[Size(32, 32)])).capabilities
    assert can.sizes == ((64, 32), (32, 32))


def test_the_id_is_the_name_that_the_model_was_saved_under(folder: Path) -> None:
    edit(folder / "model_index.json", lambda values: values.update(_name_or_path="org/model"))
    assert describe(folder, OPTIONS).capabilities.model.id == "org/model"


def test_steps_are_limited_by_the_training_timesteps(folder: Path) -> None:
    edit(
        folder / "scheduler" / "scheduler_config.json",
        lambda values: values.update(num_train_timesteps=50),
    )
    limits = Limits(max_steps=80, max_guidance_scale=9.0, max_images=3)
    assert describe(folder, Options(limits=limits)).capabilities.limits == replace(
        limits, max_steps=50, max_clip_skip=1
    )


@pytest.mark.parametrize(
    ("easel", "message"),
    [
        ('{"defaults": {},}', "is not valid JSON: .* line 1 column 1[67]"),
        ("[]", "must hold a JSON object"),
        ("", "is not valid JSON"),
        ('{"default": {}}', "default = {}: unknown key; the keys are defaults, sizes"),
        ('{"defaults": []}', r"defaults = \[\]: must be an object"),
        ('{"defaults": {"steps": 3}}', r"defaults\.steps = 3: unknown key; .*num_inference_steps"),
        (
            '{"defaults": {"num_inference_steps": "25"}}',
            r'defaults\.num_inference_steps = "25": must be a whole number, 1 or more',
        ),
        ('{"defaults": {"num_inference_steps": 2.5}}', "= 2.5: must be a whole number"),
        ('{"defaults": {"num_inference_steps": true}}', "= true: must be a whole number"),
        ('{"defaults": {"width": 0}}', r"defaults\.width = 0: must be a whole number, 1 or more"),
        ('{"defaults": {"guidance_scale": "5"}}', 'guidance_scale = "5": must be a number'),
        ('{"defaults": {"guidance_scale": -1}}', "guidance_scale = -1: must be a number, 0 or"),
        ('{"defaults": {"guidance_scale": NaN}}', "guidance_scale = NaN: must be a number"),
        ('{"defaults": {"scheduler": null}}', "scheduler = null: must be a string"),
        ('{"defaults": {"negative_prompt": 1}}', "negative_prompt = 1: must be a string"),
        ('{"sizes": {}}', "sizes = {}: must be a list"),
        ('{"sizes": [64]}', r"sizes\[0\] = 64: must be \[width, height\]"),
        ('{"sizes": [[64, 64], [64, "64"]]}', r'sizes\[1\] = \[64, "64"\]: must be two'),
    ],
)
def test_an_invalid_easel_json_is_refused(folder: Path, easel: str, message: str) -> None:
    (folder / "easel.json").write_text(easel)
    with pytest.raises(EaselJsonError, match=rf"easel\.json.*{message}"):
        describe(folder, OPTIONS)


def test_an_easel_json_with_a_byte_order_mark_is_read(folder: Path) -> None:
    path = folder / "easel.json"
    path.write_text("\ufeff" + path.read_text().replace("\n", "\r\n"), newline="")
    before = (folder / "easel.json").read_bytes()
    assert before.startswith(b"\xef\xbb\xbf")
    describe(folder, OPTIONS)


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder_2/config.json",
        "unet/config.json",
        "vae/config.json",
        "tokenizer/tokenizer_config.json",
    ],
)
def test_each_file_with_invalid_json_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text("{,}")
    with pytest.raises(ValueError, match=rf"{name} is not valid JSON: .*line 1 column 2"):
        describe(folder, OPTIONS)


def test_a_size_that_is_not_a_multiple_of_8_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"36x32.*multiples of 8"):
        describe(folder, Options(sizes=[Size(36, 32)]))


def test_a_default_scheduler_that_is_not_offered_is_refused(folder: Path) -> None:
    (folder / "easel.json").write_text(json.dumps({"defaults": {"scheduler": "edm_euler"}}))
    with pytest.raises(ConfigError, match="'edm_euler' is not offered: choose one of euler"):
        describe(folder, OPTIONS)


def test_a_scheduler_class_that_we_lack_is_replaced_with_a_warning(folder: Path) -> None:
    edit(
        folder / "scheduler" / "scheduler_config.json",
        lambda values: values.update(_class_name="PNDMScheduler"),
    )
    about = describe(folder, OPTIONS)
    assert about.capabilities.defaults.scheduler == "dpmpp_2m"
    (warning,) = about.warnings
    assert "PNDMScheduler" in warning


def test_easel_json_chooses_another_scheduler_without_a_warning(folder: Path) -> None:
    edit(
        folder / "scheduler" / "scheduler_config.json",
        lambda values: values.update(_class_name="PNDMScheduler"),
    )
    (folder / "easel.json").write_text(json.dumps({"defaults": {"scheduler": "heun"}}))
    about = describe(folder, OPTIONS)
    assert about.capabilities.defaults.scheduler == "heun"
    assert about.warnings == ()


@pytest.mark.parametrize(
    ("config", "own", "scheduler"),
    [
        ({"_class_name": "UniPCMultistepScheduler"}, {}, "unipc"),
        ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3}, {}, "dpmpp_3m"),
        ({}, {"scheduler": "dpmpp_3m_sde_karras"}, "dpmpp_3m_sde_karras"),
        (EDM | {"solver_order": 3}, {}, "edm_dpmpp_3m"),
    ],
)
def test_a_default_that_uses_two_earlier_predictions_is_offered(
    folder: Path, config: dict[str, Any], own: dict[str, str], scheduler: str
) -> None:
    edit(folder / "scheduler" / "scheduler_config.json", lambda values: values.update(config))
    (folder / "easel.json").write_text(json.dumps({"defaults": own}))
    about = describe(folder, OPTIONS)
    assert about.capabilities.defaults.scheduler == scheduler
    assert scheduler in about.capabilities.schedulers
    assert about.keep_older
    assert about.warnings == ()


def test_other_models_offer_samplers_of_two_earlier_predictions_on_demand(folder: Path) -> None:
    plain, more = describe(folder, OPTIONS), describe(folder, Options(more_schedulers=True))
    assert (plain.keep_older, more.keep_older) == (False, True)
    names = plain.capabilities.schedulers
    assert {"unipc", "dpmpp_3m", "dpmpp_3m_sde"}.isdisjoint(names)
    assert {"unipc", "dpmpp_3m", "dpmpp_3m_sde", *names} <= {*more.capabilities.schedulers}
    assert more.capabilities.defaults == plain.capabilities.defaults
    edit(
        folder / "scheduler" / "scheduler_config.json",
        lambda values: values.update(_class_name="UniPCMultistepScheduler"),
    )
    (folder / "easel.json").write_text(json.dumps({"defaults": {"scheduler": "dpmpp_2m"}}))
    assert not describe(folder, OPTIONS).keep_older


def test_a_model_of_flow_matching_is_refused(folder: Path) -> None:
    edit(
        folder / "scheduler" / "scheduler_config.json",
        lambda values: values.update(_class_name="FlowMatchEulerDiscreteScheduler"),
    )
    with pytest.raises(SchedulerError, match="flow matching"):
        describe(folder, OPTIONS)


def test_a_missing_tokenizer_is_named(folder: Path) -> None:
    (folder / "tokenizer_2" / "vocab.json").unlink()
    with pytest.raises(TextFileError, match=r"tokenizer_2/vocab\.json.*merges\.txt"):
        describe(folder, OPTIONS)


def test_a_tokenizer_larger_than_its_encoder_is_refused(folder: Path) -> None:
    stub_tokenizer.write(folder, "tokenizer", 1001, 77)
    with pytest.raises(ConfigError, match="1001 ids"):
        describe(folder, OPTIONS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dtype": "float16"},
        {"vae_dtype": "int8"},
        {"batch_lanes": ()},
        {"batch_lanes": (0,)},
        {"devices": ()},
    ],
)
def test_invalid_options_are_named(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        Options(**wrong)


def test_a_step_must_hold_a_guided_image(folder: Path) -> None:
    with pytest.raises(ValueError, match="rows is 1"):
        describe(folder, Options(rows=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": Tokens((0,) * 77, (1000,) * 77)}, "prompt has a token id outside 0 to 999"),
        ({"negative": Tokens((1000,) * 77, (0,) * 77)}, "negative has a token id outside 0 to 999"),
        ({"empty": Tokens((1000,) * 77, (0,) * 77)}, "empty has a token id outside 0 to 999"),
        (
            {"prompt": Tokens((0,) * 77, (0,) * 77, pooled_ids_2=(1000,) * 77)},
            "prompt has a token id outside 0 to 999",
        ),
    ],
)
def test_values_beyond_the_models_limits_are_refused(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    cold = SdxlEngine(folder, OPTIONS)
    with pytest.raises(RuntimeError, match="not ready"):
        cold.start(CASE.spec())
    with pytest.raises(InvalidRequest, match=message):
        cold.start(replace(CASE.spec(), **change))


def test_the_digest_depends_only_on_weights_and_configs(folder: Path) -> None:
    digest = model_digest(locate(folder))
    (folder / "README.md").write_text("a model card")
    assert model_digest(locate(folder)) == digest
    weights = next((folder / "vae").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    changed = model_digest(locate(folder))
    assert changed != digest
    edit(folder / "model_index.json", lambda v: v.update(force_zeros_for_empty_prompt=False))
    assert model_digest(locate(folder)) not in {digest, changed}
