"""The presets of few-step models: which fit a model, and which one is the model's own."""

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET
from safetensors.numpy import load_file, save_file

from easel_worker.engine import Preset
from easel_worker.sdxl.folder.config import ConfigError
from easel_worker.sdxl.folder.easel_json import EaselJsonError
from easel_worker.sdxl.folder.preset_names import preset_in, preset_of_lora, says_few_steps
from easel_worker.sdxl.folder.presets import NAMES, presets_for
from easel_worker.sdxl.samplers import sampler
from easel_worker.sdxl.samplers.schedule import Schedule
from easel_worker.sdxl.serving.describe import Description, describe
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.schedule_of import schedule_of
from parity.pipeline.cases import PIPELINE_CASES
from parity.pipeline.ours import make
from tests.sdxl.conftest import FolderMaker
from tests.sdxl.engines import start

CASE = PIPELINE_CASES[0]
SDXL_SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
"""SDXL base's, as far as it matters here."""


@pytest.fixture
def folder(golden_folder: FolderMaker, tmp_path: Path) -> Path:
    """A complete model with SDXL base's scheduler and without an easel.json."""
    _, parts = golden_folder(CASE.model.name)
    copy = Path(shutil.copytree(parts, tmp_path / "tiny"))
    CASE.complete(copy)
    (copy / "easel.json").unlink()
    (copy / "scheduler" / "scheduler_config.json").write_text(json.dumps(SDXL_SCHEDULER))
    return copy


@pytest.fixture
def unet(folder: Path) -> Path:
    """The model's UNet as a file, to be renamed."""
    file = next(iter((folder / "unet").glob("*.safetensors")))
    return Path(shutil.copy(file, folder.parent / "unet.safetensors"))


def called(folder: Path, unet: Path, name: str, **metadata: str) -> Description:
    """The model with a UNet of this name."""
    file = unet.with_name(f"{name}.safetensors")
    save_file(load_file(unet), file, metadata or None)
    return describe(folder, Options(unet=file))


def name_folder(folder: Path, name: str) -> None:
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_name_or_path": name}))


def say(folder: Path, **values: Any) -> None:
    (folder / "easel.json").write_text(json.dumps(values))


def by_default(about: Description) -> tuple[int, float, str]:
    defaults = about.capabilities.defaults
    return defaults.num_inference_steps, defaults.guidance_scale, defaults.scheduler


def by_name(name: str, family: str = "sdxl") -> Preset:
    everything = sampler.offered(SDXL_SCHEDULER)
    return next(each for each in presets_for(family, everything) if each.name == name)


@pytest.mark.parametrize("preset", presets_for("sdxl", sampler.offered(SDXL_SCHEDULER)))
def test_the_sampler_of_each_preset_takes_its_schedule(preset: Preset) -> None:
    schedule = Schedule(
        timestep_spacing=preset.timestep_spacing or None,
        timesteps=preset.timesteps or (),
        eta=preset.eta or 0.0,
    )
    table = sampler.make_table(
        SDXL_SCHEDULER, preset.scheduler, preset.num_inference_steps, schedule
    )
    assert len(table.timesteps) == preset.num_inference_steps
    if preset.timesteps:
        assert tuple(table.timesteps) == preset.timesteps
    elif preset.timestep_spacing == "trailing":
        assert table.timesteps[0] == 999


def test_presets_are_those_of_the_family_and_its_samplers() -> None:
    everything = sampler.offered(SDXL_SCHEDULER)
    assert {each.name for each in presets_for("sdxl", everything)} == set(NAMES)
    assert [each.name for each in presets_for("vega", everything)] == ["lcm"]
    assert presets_for("koala", everything) == ()
    assert by_name("lcm").guidance_scale == 1.0
    assert by_name("lcm", "lcm").guidance_scale == 8.0
    edm = {"_class_name": "EDMEulerScheduler", "sigma_data": 0.5}
    assert presets_for("sdxl", sampler.offered(edm)) == ()
    assert {each.scheduler for each in presets_for("sdxl", ("ddim",))} == {"ddim"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sdxl_lightning_4step_unet", "lightning-4"),
        ("sdxl_lightning_8step", "lightning-8"),
        ("RealVisXL_V4.0_Lightning-2-steps", "lightning-2"),
        ("sdxl_lightning_1step_unet_x0", "lightning-1"),
        ("Hyper-SDXL-1step-Unet-Comfyui.fp16", "hyper-1"),
        ("someXL_hyper_8steps", "hyper-8"),
        ("Hyper-SDXL-8steps-CFG", None),
        ("hyperrealistic_4step", None),
        ("RealVisXL_V4.0_Lightning", None),
        ("lightning_2step_4step", None),
        ("lightning_lcm_4step", None),
        ("sd_xl_turbo_1.0_fp16", "turbo"),
        ("stabilityai/sdxl-turbo", "turbo"),
        ("DreamShaperXL_Turbo_v2", None),
        ("some-merge-of-sdxl-turbo", None),
        ("realLCM-xl", None),
        ("some_LCM_xl", "lcm"),
        ("some-xl-DMD2", "dmd2"),
        ("some_tcd", "tcd"),
        ("sd_xl_base_1.0", None),
    ],
)
def test_a_name_tells_a_preset_only_if_it_says_which(text: str, name: str | None) -> None:
    assert preset_in(text) == name
    if name is not None:
        assert says_few_steps(text)


@pytest.mark.parametrize(
    ("names", "preset"),
    [
        (("sdxl_lightning_4step_lora",), "lightning-4"),
        (("fast/Hyper-SDXL-8steps-lora",), "hyper-8"),
        (("Hyper-SDXL-1step-lora",), "hyper-unified"),
        (("Hyper-SDXL-8steps-CFG-lora",), None),
        (("lcm-lora-sdxl/pytorch_lora_weights",), "lcm"),
        (("lcm/sdxl_lightning_4step_lora",), "lightning-4"),
        (("dmd2_sdxl_4step_lora_fp16",), "dmd2"),
        (("unnamed", "TCD SDXL"), "tcd"),
        (("styles/ink", "ink drawing"), None),
    ],
)
def test_a_loras_names_tell_its_preset(names: tuple[str, ...], preset: str | None) -> None:
    assert preset_of_lora(*names) == preset


def test_a_unet_of_lightning_gets_its_defaults_and_one_line_says_so(
    folder: Path, unet: Path
) -> None:
    about = called(folder, unet, "sdxl_lightning_4step_unet")
    assert about.capabilities.model.id == "tiny+sdxl_lightning_4step_unet"
    assert by_default(about) == (4, 0.0, "euler")
    assert about.config.scheduler["timestep_spacing"] == "trailing"
    assert about.notes == (
        "sdxl_lightning_4step_unet looks like the preset lightning-4 by its file name: by default "
        "4 steps, guidance 0, euler, timesteps trailing; easel.json overrides",
    )
    assert about.warnings == ()


def test_the_title_in_a_files_metadata_tells_too(folder: Path, unet: Path) -> None:
    about = called(folder, unet, "unet_a", **{"modelspec.title": "SDXL Lightning 8 steps"})
    assert by_default(about) == (8, 0.0, "euler")
    assert "SDXL Lightning 8 steps looks like the preset lightning-8 by its title" in about.notes[0]


def test_the_name_of_a_replaced_model_tells_nothing_of_its_unet(folder: Path, unet: Path) -> None:
    name_folder(folder, "sdxl_lightning_4step")
    assert by_default(describe(folder, Options())) == (4, 0.0, "euler")
    assert by_default(called(folder, unet, "another_unet")) == (40, 5.0, "euler")


def test_turbo_as_a_file_has_its_own_size(folder: Path, unet: Path) -> None:
    about = called(folder, unet, "sd_xl_turbo_1.0")
    assert by_default(about) == (1, 0.0, "euler_ancestral")
    assert about.sizes == ((512, 512),)
    assert about.notes[0].endswith("timesteps trailing, 512x512; easel.json overrides")


def test_a_folder_with_another_sampler_keeps_it(folder: Path) -> None:
    name_folder(folder, "some-xl-lightning-4step")
    other = SDXL_SCHEDULER | {"_class_name": "DPMSolverMultistepScheduler"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(other))
    about = describe(folder, Options())
    assert by_default(about) == (40, 5.0, "dpmpp_2m")
    assert about.config.scheduler == other
    assert about.notes == ()
    assert "some-xl-lightning-4step is called like a model for few steps" in about.warnings[0]


def test_easel_json_overrides_the_name_key_by_key(folder: Path, unet: Path) -> None:
    say(folder, defaults={"num_inference_steps": 6, "scheduler": "euler_ancestral"})
    about = called(folder, unet, "sdxl_lightning_4step_unet")
    assert by_default(about) == (6, 0.0, "euler_ancestral")
    assert "6 steps, guidance 0, euler_ancestral, timesteps trailing" in about.notes[0]


def test_easel_json_turns_the_name_off(folder: Path, unet: Path) -> None:
    say(folder, preset=None)
    about = called(folder, unet, "sdxl_lightning_4step_unet")
    assert by_default(about) == (40, 5.0, "euler")
    assert about.config.scheduler["timestep_spacing"] == "leading"
    assert (about.notes, about.warnings, about.preset) == ((), (), None)


def test_easel_json_names_the_preset(folder: Path) -> None:
    say(folder, preset="dmd2", defaults={"guidance_scale": 1.0})
    about = describe(folder, Options())
    assert by_default(about) == (4, 1.0, "lcm")
    assert about.notes == (
        "easel.json has the preset dmd2: by default 4 steps, guidance 1, lcm, "
        "timesteps [999, 749, 499, 249]; easel.json overrides",
    )


@pytest.mark.parametrize("preset", ["lightning-3", "", 4, ["turbo"]])
def test_easel_json_with_an_unknown_preset_is_refused(folder: Path, preset: Any) -> None:
    say(folder, preset=preset)
    with pytest.raises(EaselJsonError, match=r"preset = .*: must be null for none, or one of turb"):
        describe(folder, Options())


def test_easel_json_with_a_preset_that_does_not_fit_is_refused(folder: Path) -> None:
    say(folder, preset="lightning-4")
    edm = {"_class_name": "EDMEulerScheduler", "sigma_data": 0.5, "sigma_max": 80.0}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(edm))
    with pytest.raises(ConfigError, match=r"preset 'lightning-4' .*choose one of none fits"):
        describe(folder, Options())


def test_a_name_that_is_not_certain_is_said(folder: Path, unet: Path) -> None:
    about = called(folder, unet, "RealVisXL_V5.0_Lightning")
    assert by_default(about) == (40, 5.0, "euler")
    assert about.notes == ()
    (warning,) = about.warnings
    assert warning.startswith("RealVisXL_V5.0_Lightning is called like a model for few steps")
    assert '"preset" in easel.json: turbo, lightning-2' in warning
    say(folder, defaults={"num_inference_steps": 5})
    assert called(folder, unet, "RealVisXL_V5.0_Lightning").warnings == ()


def test_the_models_own_preset_gives_what_a_request_leaves_out(folder: Path, unet: Path) -> None:
    about = called(folder, unet, "Hyper-SDXL-1step-Unet")
    assert about.preset == by_name("hyper-1")
    spec = replace(CASE.spec(), steps=1, scheduler="lcm")

    def of(preset: str, **changes: Any) -> Schedule:
        return schedule_of(replace(spec, **changes), by_name(preset))

    assert of("hyper-1") == Schedule(timesteps=(800,))
    assert of("hyper-1", timesteps=(500,)) == Schedule(timesteps=(500,))
    assert of("hyper-1", steps=2) == Schedule()
    assert of("hyper-1", scheduler="ddim") == Schedule()
    assert of("hyper-1", sigmas=(3.0, 0.0)) == Schedule(sigmas=(3.0, 0.0))
    assert of("tcd", scheduler="tcd") == Schedule(eta=0.3)
    assert of("tcd", scheduler="tcd", eta=0.0) == Schedule()
    assert of("tcd", scheduler="ddim") == Schedule()
    assert schedule_of(spec, None) == Schedule()


def test_the_engine_makes_the_image_of_the_models_own_preset(folder: Path) -> None:
    width, height = CASE.pixels
    say(folder, preset="dmd2", defaults={"width": width, "height": height})
    lines: list[str] = []
    engine = start(folder, report=lines.append, dtype="float32")
    assert any(line.startswith("easel.json has the preset dmd2: by default 4") for line in lines)
    spec = replace(CASE.spec(), steps=4, scheduler="lcm", guidance=0.0)
    own = make(engine, spec, CASE.noise())
    stated = replace(spec, timesteps=by_name("dmd2").timesteps)
    np.testing.assert_array_equal(own, make(engine, stated, CASE.noise()))
    other = replace(spec, timesteps=(999, 759, 499, 259))  # those of LCM itself
    assert not np.array_equal(own, make(engine, other, CASE.noise()))


def test_a_preset_of_each_kind_of_value_is_in_the_table() -> None:
    """The gateway's table of parameters marks the same ones."""
    presets = presets_for("sdxl", sampler.offered(SDXL_SCHEDULER))
    used = {
        each.name
        for each in fields(Preset)
        for preset in presets
        if getattr(preset, each.name) is not UNSET
    }
    assert used == {each.name for each in fields(Preset)} - {"sigmas"}
