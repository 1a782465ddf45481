"""Unsupported configs are refused with an error that names file, key and value."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from easel_worker.sdxl.folder.config import ConfigError, load_config

BASE = Path(__file__).parents[3] / "models" / "sdxl-base-config"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of SDXL base's configs for a test to change."""
    return Path(
        shutil.copytree(BASE, tmp_path / "model", ignore=shutil.ignore_patterns("tokenizer*"))
    )


def change(file: Path, **values: Any) -> None:
    """Set keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("model_index.json", "_class_name", "StableDiffusionPipeline"),
        ("text_encoder/config.json", "hidden_act", "gelu_new"),
        ("text_encoder/config.json", "eos_token_id", [2, 49407]),
        ("text_encoder_2/config.json", "num_attention_heads", 7),
        ("unet/config.json", "act_fn", "mish"),
        ("unet/config.json", "addition_embed_type", "text"),
        ("unet/config.json", "attention_head_dim", [5, 10]),
        ("unet/config.json", "attention_head_dim", [5, 10, 21]),
        ("unet/config.json", "addition_time_embed_dim", 255),
        ("unet/config.json", "block_out_channels", [320, 640.5, 1280]),
        ("unet/config.json", "center_input_sample", True),
        ("unet/config.json", "class_embed_type", "projection"),
        ("unet/config.json", "cross_attention_dim", 768),
        ("unet/config.json", "down_block_types", ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"]),
        ("unet/config.json", "down_block_types", ["DownBlock2D", "CrossAttnDownBlock2D"]),
        ("unet/config.json", "in_channels", 5),
        ("unet/config.json", "in_channels", 8),
        ("unet/config.json", "mid_block_type", "UNetMidBlock2DSimpleCrossAttn"),
        ("unet/config.json", "norm_num_groups", 48),
        ("unet/config.json", "norm_num_groups", 0),
        ("unet/config.json", "only_cross_attention", 1),
        ("unet/config.json", "projection_class_embeddings_input_dim", 2560),
        ("unet/config.json", "resnet_time_scale_shift", "scale_shift"),
        ("unet/config.json", "time_cond_proj_dim", 255),
        ("unet/config.json", "reverse_transformer_layers_per_block", [[10, 10], 2, 1]),
        ("unet/config.json", "transformer_layers_per_block", [1, -2, 10]),
        ("unet/config.json", "transformer_layers_per_block", [[1, 1], 2, 10]),
        ("unet/config.json", "use_linear_projection", "yes"),
        ("unet/config.json", "invented_tomorrow", "on"),
        ("scheduler/scheduler_config.json", "num_train_timesteps", "1000"),
        ("scheduler/scheduler_config.json", "num_train_timesteps", 0),
        ("scheduler/scheduler_config.json", "num_train_timesteps", None),
        ("scheduler/scheduler_config.json", "beta_start", "x"),
        ("scheduler/scheduler_config.json", "sigma_min", "x"),
        ("scheduler/scheduler_config.json", "steps_offset", "1"),
        ("scheduler/scheduler_config.json", "rescale_betas_zero_snr", "yes"),
        ("scheduler/scheduler_config.json", "trained_betas", "x"),
        ("scheduler/scheduler_config.json", "trained_betas", ["x"]),
        ("vae/config.json", "latents_std", [1.0, 1.0]),
        ("vae/config.json", "shift_factor", 0.1),
        ("vae/config.json", "scaling_factor", "0.13"),
        ("vae/config.json", "invented_tomorrow", True),
    ],
)
def test_an_unsupported_value_is_named(folder: Path, file: str, key: str, value: Any) -> None:
    change(folder / file, **{key: value})
    with pytest.raises(ConfigError) as caught:
        load_config(folder)
    message = str(caught.value)
    assert str(folder / file) in message
    assert f"{key} = {json.dumps(value)}" in message


def test_latents_mean_needs_latents_std(folder: Path) -> None:
    change(folder / "vae/config.json", latents_mean=[0.0, 0.0, 0.0, 0.0])
    with pytest.raises(ConfigError, match="must be set together"):
        load_config(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "vae/config.json").unlink()
    with pytest.raises(ConfigError, match=r"vae/config\.json is missing"):
        load_config(folder)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_file_is_named(folder: Path, text: str) -> None:
    (folder / "unet/config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"unet/config\.json"):
        load_config(folder)


def test_a_missing_key_without_a_default_is_named(folder: Path) -> None:
    file = folder / "unet/config.json"
    values = json.loads(file.read_text())
    del values["addition_time_embed_dim"]
    file.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="addition_time_embed_dim is missing"):
        load_config(folder)


def test_one_value_applies_to_all_levels(folder: Path) -> None:
    change(
        folder / "unet/config.json",
        attention_head_dim=5,
        layers_per_block=[1, 2, 3],
        transformer_layers_per_block=4,
    )
    unet = load_config(folder).unet
    assert unet.heads == (5, 5, 5)
    assert unet.layers == (1, 2, 3)
    assert unet.down_transformers == ((), (4, 4), (4, 4, 4))


def test_equal_configs_are_equal_static_arguments_of_jit(folder: Path) -> None:
    first, second = load_config(folder), load_config(folder)
    for part in ("text_encoder", "text_encoder_2", "unet", "vae"):
        assert hash(getattr(first, part)) == hash(getattr(second, part))
    assert first == second


def test_infinity_which_diffusers_writes_is_read(folder: Path) -> None:
    file = folder / "scheduler" / "scheduler_config.json"
    change(file, lambda_min_clipped=float("-inf"))
    assert "-Infinity" in file.read_text()
    assert load_config(folder).scheduler["lambda_min_clipped"] == float("-inf")
