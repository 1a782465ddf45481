"""Reads and checks the configs of a diffusers folder.

Every key that could change the image is either implemented or refused, so a folder that loads gives
the images that diffusers gives.
"""

from pathlib import Path
from typing import Any

from easel_worker.sdxl.folder.config_reader import ConfigError, ConfigFile, ConfigReader
from easel_worker.sdxl.folder.config_text import read_text_config
from easel_worker.sdxl.folder.config_unet import read_unet_config
from easel_worker.sdxl.folder.config_vae import read_vae_config
from easel_worker.sdxl.folder.files import ModelFiles, locate
from easel_worker.sdxl.model.config import SdxlConfig

__all__ = ["ConfigError", "load_config", "read_config"]

_CLASSES = {
    "text_encoder": ("CLIPTextModel",),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "tokenizer_2": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL",),
}
"""The classes of components in model_index.json."""

_FROM_PICTURES = "StableDiffusionXLImg2ImgPipeline"
_PIPELINES = ("StableDiffusionXLPipeline", "StableDiffusionXLInpaintPipeline", _FROM_PICTURES)
"""The supported classes of whole models in model_index.json. What a UNet takes, its config says."""

_SWITCHES = (
    "rescale_betas_zero_snr",
    "use_karras_sigmas",
    "set_alpha_to_one",
    "lower_order_final",
    "euler_at_final",
)
"""Boolean keys of scheduler_config.json."""


def load_config(folder: Path) -> SdxlConfig:
    """Read and check all configs of a model; see `read_config`."""
    return read_config(locate(folder))


def read_config(files: ModelFiles) -> SdxlConfig:
    """Read and check all configs of a model.

    Raises:
        ConfigError: a file is missing or has an unsupported value; it names file, key and value.
    """
    index = ConfigReader(files.index)
    index.require("_class_name", *_PIPELINES)
    for name, classes in _CLASSES.items():
        given = index.values.get(name)
        used = given[-1] if isinstance(given, list) and given else given
        if used is not None and used not in classes:
            index.fail(name, f"only {' or '.join(classes)} is supported")
    configs = {name: files.components[name].config for name in files.components}
    config = SdxlConfig(
        text_encoder=(
            read_text_config(configs["text_encoder"], projects=False)
            if "text_encoder" in configs
            else None
        ),
        text_encoder_2=read_text_config(configs["text_encoder_2"], projects=True),
        unet=read_unet_config(configs["unet"]),
        vae=read_vae_config(configs["vae"]),
        scheduler=_scheduler(files.scheduler),
        force_zeros_for_empty_prompt=index.boolean("force_zeros_for_empty_prompt", True),
        aesthetic_scores=index.boolean("requires_aesthetics_score", False),
        pictures_only=index.values.get("_class_name") == _FROM_PICTURES,
    )
    _check_fit(configs["unet"].path, config)
    return config


def _scheduler(file: ConfigFile) -> dict[str, Any]:
    """The file's values, with their types checked. Their meaning depends on the scheduler class."""
    read = ConfigReader(file)
    read.string("_class_name")
    for key in ("num_train_timesteps", "beta_start", "beta_end", "steps_offset"):
        if key in read.values and read.values[key] is None:
            read.fail(key, "must be a number")
    if read.integer("num_train_timesteps", 1000) < 1:
        read.fail("num_train_timesteps", "must be a whole number, 1 or more")
    read.integer("steps_offset", 0)
    for key in ("beta_start", "beta_end", "sigma_min", "sigma_max"):
        read.number(key, 0.0)
    for key in _SWITCHES:
        read.boolean(key, False)
    betas = read.values.get("trained_betas")
    if betas is not None:
        read.numbers_or_none("trained_betas", len(betas) if isinstance(betas, list) else 0)
    return read.values


def _check_fit(unet_config: Path, config: SdxlConfig) -> None:
    """Refuse components that do not fit together."""
    text_2, unet, vae = config.text_encoder_2, config.unet, config.vae
    added = text_2.pooled + config.time_ids * unet.time_id_features
    context = sum(each.hidden for each in config.text_encoders)
    encoders = "both text encoders" if len(config.text_encoders) > 1 else "text_encoder_2"
    for key, value, expected, source in (
        ("cross_attention_dim", unet.context, context, encoders),
        (
            "projection_class_embeddings_input_dim",
            unet.added_features,
            added,
            f"text_encoder_2 and {config.time_ids} sizes and scores",
        ),
        ("out_channels", unet.out_channels, vae.latent_channels, "the VAE's latents"),
    ):
        if value != expected:
            raise ConfigError(f"{unet_config}: {key} = {value}: {source} need {expected}")
    if unet.in_channels != vae.latent_channels and not config.inpaints:
        raise ConfigError(
            f"{unet_config}: in_channels = {unet.in_channels}: the VAE's latents need "
            f"{vae.latent_channels}, or {2 * vae.latent_channels + 1} in an inpainting model"
        )
