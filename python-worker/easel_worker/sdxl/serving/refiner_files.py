"""Finds the operator's refiner, and checks that it continues what the model begins."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from easel_worker.sdxl.folder.config import ConfigError, read_config
from easel_worker.sdxl.folder.files import ModelFiles, locate
from easel_worker.sdxl.folder.tokenizer_files import TokenizerFiles, read_tokenizer
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.samplers import classes
from easel_worker.sdxl.samplers.config import Config, ConfigFile, SchedulerError, read
from easel_worker.sdxl.samplers.schedules import alphas_cumprod


@dataclass(frozen=True)
class RefinerFiles:
    """A refiner. Its VAE is the model's, so `files` has that one, and so has `config`."""

    files: ModelFiles
    config: SdxlConfig


def find_refiner(
    path: Path,
    config: SdxlConfig,
    tokenizer: TokenizerFiles,
    *,
    vae: Path,
) -> RefinerFiles:
    """Read the small files of a refiner.

    The images' schedule is the model's. So the refiner must have been trained with the same noise
    levels, and it must read the same latents and the same token ids.

    Args:
        path: a folder or a single file.
        config: the model's.
        tokenizer: the model's second one.
        vae: where the model's VAE is.

    Raises:
        ConfigError: it is no refiner, or does not fit the model; the message says what to do.
    """
    _check_model(config)
    files = locate(path, vae=vae)
    own = read_config(files)
    if own.text_encoder is not None or not own.aesthetic_scores:
        raise ConfigError(
            f"REFINER={path}: it is no refiner as SDXL's, which has the second text encoder only "
            "and takes aesthetic scores: give stabilityai/stable-diffusion-xl-refiner-1.0, or "
            "leave REFINER out"
        )
    if own.inpaints:
        raise ConfigError(f"REFINER={path}: it is an inpainting model: leave REFINER out")
    theirs = read_tokenizer(files.tokenizers[1])
    if (theirs.info, theirs.size) != (tokenizer.info, tokenizer.size):
        raise ConfigError(
            f"REFINER={path}: its tokenizer_2 is another one than the model's, which makes the ids "
            "for both: leave REFINER out"
        )
    if tokenizer.size > own.text_encoder_2.vocabulary:
        raise ConfigError(
            f"REFINER={path}: its text encoder has {own.text_encoder_2.vocabulary} ids and the "
            f"tokenizer {tokenizer.size}: leave REFINER out"
        )
    if not _same_levels(config.scheduler, own.scheduler):
        raise ConfigError(
            f"REFINER={path}: its scheduler_config.json has another prediction_type, "
            "num_train_timesteps or other betas than the model's, so it cannot continue the "
            "model's schedule: leave REFINER out"
        )
    return RefinerFiles(files, own)


def _check_model(config: SdxlConfig) -> None:
    """Refuse models of which no refiner continues the images."""
    what = None
    if config.pictures_only or config.text_encoder is None:
        what = "a refiner itself"
    elif config.inpaints:
        what = "an inpainting model, whose mask a refiner does not read"
    elif config.unet.guidance_features is not None:
        what = "a model that takes the guidance scale as an input, which a refiner does not"
    else:
        scheduler = _config(config.scheduler)
        if scheduler is None:
            what = "trained without betas, and a refiner with them"
        elif scheduler.timestep_type == "continuous" and scheduler.prediction_type != "epsilon":
            what = "a model with continuous timesteps, which denoising_end does not divide"
    if what is not None:
        raise ConfigError(f"REFINER must be left out: the model is {what}")


def _same_levels(one: ConfigFile, other: ConfigFile) -> bool:
    """Whether two models were trained with the same noise levels and predict the same."""
    first, second = _config(one), _config(other)
    return (
        first is not None
        and second is not None
        and first.prediction_type == second.prediction_type
        and np.array_equal(alphas_cumprod(first), alphas_cumprod(second))
    )


def _config(file: ConfigFile) -> Config | None:
    """What decides the noise levels, which all classes read alike; None for other training."""
    try:
        return read(file, classes.EULER)
    except SchedulerError:
        return None
