"""A single file in the original layout is the same model as its diffusers folder."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.checkpoint import WeightsError
from easel_worker.sdxl.folder.config import load_config, read_config
from easel_worker.sdxl.folder.config_reader import ConfigError, ConfigFile
from easel_worker.sdxl.folder.config_unet import read_unet_config
from easel_worker.sdxl.folder.easel_json import EaselJsonError
from easel_worker.sdxl.folder.files import BASE, ModelFiles, locate
from easel_worker.sdxl.folder.identity import model_digest
from easel_worker.sdxl.folder.layout import COMPONENTS
from easel_worker.sdxl.folder.model_defaults import model_defaults
from easel_worker.sdxl.folder.original_names import PREFIXES, original_keys
from easel_worker.sdxl.folder.single_file import unet_changes
from easel_worker.sdxl.folder.unet_shape import block_config
from easel_worker.sdxl.model.params import declared as params_of
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.serving.describe import describe
from easel_worker.sdxl.serving.options import Options
from parity import original_layout, ours
from parity.cases import CASES, SIBLINGS, Case
from parity.golden import STEMS
from parity.pipeline.cases import PIPELINE_CASES
from parity.pipeline.ours import LIMIT, difference, engine_for, run
from tests.sdxl.conftest import FolderMaker
from tests.sdxl.engines import COMPILER

Arrays = dict[str, NDArray[Any]]
Parts = dict[str, Arrays]

SMALL = PIPELINE_CASES[0].model.name
UNET_CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"


@pytest.fixture
def parts(golden_folder: FolderMaker) -> Parts:
    """The tensors of a small model by component and diffusers' names."""
    golden, _ = golden_folder(SMALL)
    return {part: golden.weights(part) for part in COMPONENTS}


@pytest.fixture
def configs(golden_folder: FolderMaker, tmp_path: Path) -> Path:
    """A folder with the configs of the small model and without its weights."""
    _, folder = golden_folder(SMALL)
    ignored = shutil.ignore_patterns("*.safetensors*")
    return Path(shutil.copytree(folder, tmp_path / "single", ignore=ignored))


@pytest.fixture
def folder(configs: Path, parts: Parts) -> Path:
    """A folder with a single file and the model's configs."""
    save_file(original_layout.single_file(parts), configs / "small.safetensors")
    return configs


def load(files: ModelFiles, dtype: Any = jnp.float32) -> Any:
    trees = ours.declare(read_config(files))
    return {
        part: weights.load(files.components[part].weights, tree, dtype, ours.put)
        for part, tree in trees.items()
    }


def assert_equal(left: Any, right: Any) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(one, other)


def rewrite(folder: Path, change: Callable[[Arrays], Any], **more: Any) -> None:
    """Change the tensors of the single file in place."""
    tensors = load_file(folder / "small.safetensors")
    change(tensors)
    save_file(tensors, folder / "small.safetensors", **more)


@pytest.mark.parametrize("as_conv", [True, False])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_all_parameters_equal_those_of_the_folder(
    golden_folder: FolderMaker, tmp_path: Path, case: Case, as_conv: bool
) -> None:
    golden, original = golden_folder(case.name)
    ignored = shutil.ignore_patterns("*.safetensors*")
    single = Path(shutil.copytree(original, tmp_path / "single", ignore=ignored))
    tensors = original_layout.single_file(
        {part: golden.weights(part) for part in golden.shapes}, attention_as_conv=as_conv
    )
    save_file(tensors, single / "model.safetensors")
    assert_equal(load(locate(single)), load(locate(original)))


def test_the_image_equals_diffusers(folder: Path) -> None:
    case = PIPELINE_CASES[0]
    golden = np.load(Path(__file__).parents[1] / "goldens" / "pipelines.npz")[case.name]
    assert difference(run(case, engine_for(case, folder, compiler=COMPILER)), golden) <= LIMIT


@pytest.mark.parametrize(
    "dtype", [np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, "mixed"]
)
def test_stored_dtypes_are_converted(folder: Path, dtype: Any) -> None:
    kinds = [np.float16, ml_dtypes.bfloat16, np.float32]
    expected: Arrays = {}

    def convert(tensors: Arrays) -> None:
        for i, (name, value) in enumerate(tensors.items()):
            kind = kinds[i % 3] if dtype == "mixed" else dtype
            tensors[name] = value.astype(kind)
            expected[name] = tensors[name].astype(np.float32)

    rewrite(folder, convert)
    halved = load(locate(folder))
    save_file(expected, folder / "small.safetensors")
    assert_equal(halved, load(locate(folder)))


def test_tensors_that_text_to_image_does_not_use_are_ignored(folder: Path) -> None:
    before = load(locate(folder))
    one = np.ones(1, np.float32)
    names = [
        "betas",
        "alphas_cumprod",
        "alphas_cumprod_prev",
        "sqrt_alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod",
        "sqrt_recip_alphas_cumprod",
        "sqrt_recipm1_alphas_cumprod",
        "posterior_mean_coef1",
        "model_ema.decay",
        "model_ema.diffusion_modelinput_blocks00weight",
        "denoiser.sigmas",
        "first_stage_model.loss.logvar",
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids",
        "conditioner.embedders.0.transformer.text_projection.weight",
        "conditioner.embedders.0.logit_scale",
        "conditioner.embedders.1.model.logit_scale",
        "conditioner.embedders.1.model.transformer.text_model.embeddings.position_ids",
    ]
    rewrite(folder, lambda tensors: tensors.update(dict.fromkeys(names, one)))
    assert_equal(load(locate(folder)), before)


@pytest.mark.parametrize("name", ["strange", "model.diffusion_model.strange", "vae.strange"])
def test_an_unknown_tensor_is_named(folder: Path, name: str) -> None:
    rewrite(folder, lambda tensors: tensors.update({name: np.ones(1, np.float32)}))
    with pytest.raises(WeightsError, match=rf"unknown tensors?:? {name}"):
        load(locate(folder))


@pytest.mark.parametrize(
    "name",
    [
        "model.diffusion_model.output_blocks.2.2.conv.weight",
        "model.diffusion_model.middle_block.1.proj_in.bias",
        "first_stage_model.decoder.up.3.block.0.norm1.weight",
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias",
        "conditioner.embedders.1.model.transformer.resblocks.1.attn.in_proj_weight",
        "conditioner.embedders.1.model.text_projection",
    ],
)
def test_a_missing_tensor_is_named_as_in_the_file(folder: Path, name: str) -> None:
    rewrite(folder, lambda tensors: tensors.pop(name))
    with pytest.raises(WeightsError, match=f"missing tensor {re.escape(name)}$"):
        load(locate(folder))


def test_a_tensor_of_another_shape_is_named_as_in_the_file(folder: Path) -> None:
    name = "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"
    rewrite(folder, lambda tensors: tensors.update({name: tensors[name][:-3]}))
    with pytest.raises(WeightsError, match=rf"{re.escape(name)} has shape \[23, 24\], but"):
        load(locate(folder))


def without_vae(tensors: Arrays) -> None:
    for name in [name for name in tensors if name.startswith("first_stage_model.")]:
        del tensors[name]


def test_a_file_without_a_vae_needs_one(folder: Path) -> None:
    rewrite(folder, without_vae)
    with pytest.raises(WeightsError, match="has no VAE: set VAE to"):
        locate(folder)


@pytest.mark.parametrize("form", ["folder", "model", "diffusers file", "original file", "baked"])
def test_a_vae_by_itself_replaces_the_models(
    folder: Path, golden_folder: FolderMaker, parts: Parts, tmp_path: Path, form: str
) -> None:
    _, whole = golden_folder("demo")
    other = {name: value + 1 for name, value in parts["vae"].items()}
    vae = tmp_path / "vae"
    vae.mkdir()
    shutil.copy(folder / "vae/config.json", vae)
    save_file(other, vae / f"{STEMS['vae']}.safetensors")
    original = original_layout.vae(other, attention_as_conv=True)
    save_file(original, tmp_path / "original.safetensors")
    save_file(
        {f"first_stage_model.{name}": value for name, value in original.items()},
        tmp_path / "baked.safetensors",
    )
    shutil.copytree(whole, tmp_path / "model")
    shutil.rmtree(tmp_path / "model/vae")
    shutil.copytree(vae, tmp_path / "model/vae")
    path = {
        "folder": vae,
        "model": tmp_path / "model",
        "diffusers file": vae / f"{STEMS['vae']}.safetensors",
        "original file": tmp_path / "original.safetensors",
        "baked": tmp_path / "baked.safetensors",
    }[form]
    before = load(locate(folder))
    rewrite(folder, without_vae)
    loaded = load(locate(folder, vae=path))
    assert_equal(loaded["unet"], before["unet"])
    expected = before["vae"].decoder.conv_in.bias + 1
    np.testing.assert_array_equal(loaded["vae"].decoder.conv_in.bias, expected)


@pytest.mark.parametrize("form", ["folder", "diffusers file", "original file", "bare"])
def test_a_unet_by_itself_replaces_the_models(
    folder: Path, parts: Parts, tmp_path: Path, form: str
) -> None:
    other = {name: value + 1 for name, value in parts["unet"].items()}
    unet = tmp_path / "unet"
    unet.mkdir()
    shutil.copy(folder / "unet/config.json", unet)
    save_file(other, unet / f"{STEMS['unet']}.fp16.safetensors")
    bare = original_layout.unet(other)
    save_file(bare, tmp_path / "bare.safetensors")
    save_file(
        {f"model.diffusion_model.{name}": value for name, value in bare.items()},
        tmp_path / "original.safetensors",
    )
    path = {
        "folder": unet,
        "diffusers file": unet / f"{STEMS['unet']}.fp16.safetensors",
        "original file": tmp_path / "original.safetensors",
        "bare": tmp_path / "bare.safetensors",
    }[form]
    files = locate(folder, unet=path)
    before, loaded = load(locate(folder)), load(files)
    assert_equal(loaded["vae"], before["vae"])
    np.testing.assert_array_equal(loaded["unet"].conv_in.bias, before["unet"].conv_in.bias + 1)
    assert files.name == f"small+{path.stem}"
    assert model_digest(files) != model_digest(locate(folder))


@pytest.mark.parametrize("prefix", [None, "", "model.diffusion_model."])
def test_a_unet_by_itself_may_be_an_inpainting_one(
    golden_folder: FolderMaker, configs: Path, parts: Parts, tmp_path: Path, prefix: str | None
) -> None:
    """Its first layer says so, since the config is that of the UNet that it replaces."""
    save_file(original_layout.single_file(parts), configs / "small.safetensors")
    unet = dict(parts["unet"])
    shape = unet["conv_in.weight"].shape
    unet["conv_in.weight"] = np.ones((shape[0], 9, *shape[2:]), np.float32)
    if prefix is not None:
        unet = {f"{prefix}{name}": each for name, each in original_layout.unet(unet).items()}
    save_file(unet, tmp_path / "inpainting.safetensors")
    files = locate(configs, unet=tmp_path / "inpainting.safetensors")
    assert read_config(files).inpaints
    assert load(files)["unet"].conv_in.weight.shape[2] == 9


def save_base(file: Path, *, channels: int) -> None:
    """A single file with the names of SDXL base's tensors, without numbers."""
    params = params_of(UNet.declare(load_config(BASE).unet))
    empty = np.zeros(0, np.float32)
    tensors = dict.fromkeys(original_keys("unet", PREFIXES["unet"], params).values(), empty)
    tensors |= {UNET_CONV_IN: np.zeros((0, channels), np.float32)}
    others = ("conditioner.embedders.1.model.ln_final.weight", "first_stage_model.x")
    save_file(tensors | dict.fromkeys(others, empty), file)


def test_a_single_file_has_its_easel_json_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "base.safetensors"
    save_base(file, channels=4)

    def steps(model: Path) -> int:
        files = locate(model)
        return model_defaults(files, read_config(files)).defaults.num_inference_steps

    assert (steps(file), steps(tmp_path)) == (40, 40)
    for name, number in (("easel.json", 3), ("base.safetensors.easel.json", 7)):
        values = {"defaults": {"num_inference_steps": number}}
        (tmp_path / name).write_text(json.dumps(values))
    assert (steps(file), steps(tmp_path)) == (7, 3)
    (tmp_path / "base.safetensors.easel.json").write_text('{"defaults": {"steps": 7}}')
    with pytest.raises(EaselJsonError, match=r"safetensors\.easel\.json: defaults\.steps = 7"):
        steps(file)


def test_a_single_file_without_configs_may_be_an_inpainting_one(tmp_path: Path) -> None:
    """With SDXL base's configs, which are for 4 channels."""
    save_base(tmp_path / "inpaint.safetensors", channels=9)
    config = read_config(locate(tmp_path / "inpaint.safetensors"))
    assert config.inpaints
    assert config.unet == replace(load_config(BASE).unet, in_channels=9)


def test_a_replacement_that_does_not_exist_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"VAE={tmp_path}/no: there is no such"):
        locate(folder, vae=tmp_path / "no")


KINDS = {
    "a Stable Diffusion 1 model": ["cond_stage_model.transformer.x", UNET_CONV_IN],
    "a Stable Diffusion 2 model": ["cond_stage_model.model.x", UNET_CONV_IN],
    "a Stable Diffusion 3 model": ["model.diffusion_model.joint_blocks.0.x"],
    "a Flux model": ["double_blocks.0.img_attn.qkv.weight"],
    "a LoRA": ["lora_unet_down_blocks_0.lora_down.weight"],
    "a LoRA, not a whole model": ["unet.down_blocks.0.to_q.lora_A.weight"],
    "a ControlNet": ["control_model.input_blocks.0.0.weight"],
    "a UNet without text encoders; serve it with UNET=FILE": [UNET_CONV_IN],
    "a UNet without text encoders": ["down_blocks.0.resnets.0.conv1.weight"],
    "a VAE; serve it with VAE=FILE": ["decoder.conv_in.weight"],
    "not an SDXL model in the original layout": ["blocks.0.weight"],
}


@pytest.mark.parametrize(("what", "names"), KINDS.items(), ids=KINDS)
def test_another_kind_of_file_is_refused_by_name(
    tmp_path: Path, what: str, names: list[str]
) -> None:
    file = tmp_path / "other.safetensors"
    save_file(dict.fromkeys(names, np.ones((1, 4), np.float32)), file)
    with pytest.raises(WeightsError, match=rf"^{file}: this is {what}"):
        locate(file)


@pytest.mark.parametrize(
    ("channels", "what"), [(5, "not a text-to-image model"), (8, "an instruct-pix2pix model")]
)
def test_other_input_channels_are_refused(folder: Path, channels: int, what: str) -> None:
    shape = (32, channels, 3, 3)
    rewrite(folder, lambda t: t.update({UNET_CONV_IN: np.ones(shape, np.float32)}))
    with pytest.raises(WeightsError, match=rf"has shape \[32, {channels}, 3, 3\]: this is {what}"):
        locate(folder)


def test_fp8_with_scales_is_refused(folder: Path) -> None:
    name = "model.diffusion_model.out.2.scale_weight"
    rewrite(folder, lambda tensors: tensors.update({name: np.ones((), np.float32)}))
    with pytest.raises(WeightsError, match=f"{name}: its fp8 weights have scales"):
        locate(folder)


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "pytorch_model.bin"])
def test_a_pickle_is_refused_with_how_to_convert_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(WeightsError, match=rf"{name} can run code .*from_single_file"):
            locate(path)


def test_several_files_are_listed_in_one_line(folder: Path) -> None:
    shutil.copy(folder / "small.safetensors", folder / "other.safetensors")
    expected = "holds 2 single files; give one of them: other.safetensors, small.safetensors"
    with pytest.raises(ConfigError, match=expected):
        locate(folder)
    assert locate(folder / "other.safetensors").name == "other"


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model_index\.json is missing"):
        locate(tmp_path)


def test_a_file_given_directly_has_the_configs_of_sdxl_base(folder: Path) -> None:
    files = locate(folder / "small.safetensors")
    assert files.components["unet"].config.path == BASE / "unet/config.json"
    assert files.tokenizers == (BASE / "tokenizer", BASE / "tokenizer_2")
    with pytest.raises(
        WeightsError, match=r"has shape \[77, 16\], but the config requires \[77, 768\]"
    ):
        load(files)


V_PREDICTION = {"prediction_type": "v_prediction"}
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


@pytest.mark.parametrize(
    ("markers", "metadata", "changes"),
    [
        ([], {}, {}),
        ([], {"modelspec.prediction_type": "epsilon"}, {}),
        (["v_pred"], {}, V_PREDICTION),
        ([], {"modelspec.prediction_type": "v"}, V_PREDICTION),
        ([], {"modelspec.predict_key": "v"}, V_PREDICTION),
        (["v_pred", "ztsnr"], {}, V_PREDICTION | ZERO_SNR),
    ],
)
def test_markers_of_v_prediction_change_the_scheduler(
    folder: Path, markers: list[str], metadata: dict[str, str], changes: dict[str, Any]
) -> None:
    shutil.rmtree(folder / "scheduler", ignore_errors=True)
    empty = np.zeros(0, np.float32)
    rewrite(folder, lambda t: t.update(dict.fromkeys(markers, empty)), metadata=metadata)
    base = json.loads((BASE / "scheduler/scheduler_config.json").read_text())
    assert read_config(locate(folder)).scheduler == base | changes


def test_the_folders_own_scheduler_config_takes_precedence(folder: Path) -> None:
    own = {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(own))
    assert read_config(locate(folder)).scheduler == own


def test_markers_of_cosxl_give_its_sigmas(folder: Path) -> None:
    shutil.rmtree(folder / "scheduler", ignore_errors=True)
    sigmas = {"edm_vpred.sigma_max": 100.0, "edm_vpred.sigma_min": 0.004}
    tensors = {name: np.array(value, np.float32) for name, value in sigmas.items()}
    rewrite(folder, lambda t: t.update(tensors))
    scheduler = read_config(locate(folder)).scheduler
    assert scheduler["_class_name"] == "EDMEulerScheduler"
    assert scheduler["prediction_type"] == "v_prediction"
    assert scheduler["sigma_data"] == 1.0
    assert scheduler["sigma_max"] == 100.0
    assert scheduler["sigma_min"] == pytest.approx(0.004)


def test_markers_of_playground_give_its_scheduler_and_latents(folder: Path) -> None:
    shutil.rmtree(folder / "scheduler", ignore_errors=True)
    (folder / "vae/config.json").unlink()
    mean, std = [-1.5, 2.0, -1.25, 2.5], [8.5, 6.0, 6.5, 5.0]
    tensors = {
        "edm_mean": np.array(mean, np.float32).reshape(1, 4, 1, 1),
        "edm_std": np.array(std, np.float32).reshape(1, 4, 1, 1),
    }
    rewrite(folder, lambda t: t.update(tensors))
    config = read_config(locate(folder))
    assert config.scheduler["_class_name"] == "EDMDPMSolverMultistepScheduler"
    assert (config.scheduler["sigma_data"], config.scheduler["rho"]) == (0.5, 7.0)
    assert (config.vae.latents_mean, config.vae.latents_std) == (tuple(mean), tuple(std))
    assert config.vae.scaling_factor == 0.5


@pytest.mark.parametrize("case", [*SIBLINGS, CASES[0]], ids=lambda case: case.name)
def test_the_blocks_of_the_unet_are_read_from_the_file(
    golden_folder: FolderMaker, tmp_path: Path, case: Case
) -> None:
    golden, original = golden_folder(case.name)
    parts = {part: golden.weights(part) for part in COMPONENTS}
    # Guidance as an input has no name in the original layout.
    parts["unet"] = {n: v for n, v in parts["unet"].items() if "cond_proj" not in n}
    save_file(original_layout.single_file(parts), tmp_path / "model.safetensors")
    own = json.loads((original / "unet/config.json").read_text()) | {"time_cond_proj_dim": None}
    expected = read_unet_config(ConfigFile(original, own))
    blocks = block_config(original_layout.unet(parts["unet"]))
    without = {key: value for key, value in own.items() if key not in blocks}
    assert read_unet_config(ConfigFile(original, without | blocks)) == expected
    base = json.loads((BASE / "unet/config.json").read_text())
    assert (locate(tmp_path).components["unet"].config.values or base | blocks) == base | blocks


def test_sdxl_bases_blocks_change_nothing() -> None:
    declared = UNet.declare(load_config(BASE).unet)
    params = params_of(declared)
    names = original_keys("unet", PREFIXES["unet"], params).values()
    assert unet_changes(names) == {}


def test_the_digest_covers_the_file_and_the_configs(folder: Path) -> None:
    digest = model_digest(locate(folder))
    (folder / "small.safetensors").rename(folder / "renamed.safetensors")
    assert model_digest(locate(folder)) == digest
    (folder / "renamed.safetensors").rename(folder / "small.safetensors")
    values = json.loads((folder / "vae/config.json").read_text())
    (folder / "vae/config.json").write_text(json.dumps(values | {"scaling_factor": 0.5}))
    changed = model_digest(locate(folder))
    assert changed != digest
    rewrite(folder, lambda t: t.update({UNET_CONV_IN: t[UNET_CONV_IN] + 1}))
    assert model_digest(locate(folder)) not in {digest, changed}


def test_int8_of_a_file_given_directly_needs_its_calibration_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="needs the option calibration"):
        describe(folder / "small.safetensors", Options(quantization="int8"))
