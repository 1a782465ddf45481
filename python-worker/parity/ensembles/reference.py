"""Runs diffusers' two pipelines, one after the other. Needs torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from diffusers import StableDiffusionXLImg2ImgPipeline
from numpy.typing import NDArray

from parity.ensembles.cases import EnsembleCase
from parity.pipeline import reference as pipeline
from parity.reference import Model


def run(
    case: EnsembleCase, models: Mapping[str, Model], refiner: Mapping[str, Model]
) -> NDArray[np.uint8]:
    """Return diffusers' image, [H, W, 3]."""
    first = pipeline.pipeline_of(case.image, models)
    given = pipeline.beginning(case.image)
    latents = pipeline.images(case.image, first, output="latent", denoising_end=case.end, **given)
    return finished(case, latents, models, refiner, before=first.num_timesteps)


def finished(
    case: EnsembleCase,
    latents: Any,
    models: Mapping[str, Model],
    refiner: Mapping[str, Model],
    *,
    before: int,
) -> NDArray[np.uint8]:
    """Return what the refiner makes of latents, decoded with the base model's VAE, [H, W, 3].

    https://huggingface.co/docs/diffusers/v0.42.1/using-diffusers/sdxl#base-to-refiner-model

    Args:
        case: the image.
        latents: from the base model.
        models: its parts.
        refiner: the refiner's.
        before: how many evaluations the base model did.
    """
    shared = {**refiner, "vae": models["vae"]}
    second = pipeline.pipeline_of(case.refined, shared, StableDiffusionXLImg2ImgPipeline)
    images = pipeline.images(
        case.refined, second, before=before, image=latents, denoising_start=case.end
    )
    return np.asarray(images[0])
