"""Runs diffusers' two pipelines, one after the other. Needs torch."""

from collections.abc import Mapping

import numpy as np
from diffusers import StableDiffusionXLImg2ImgPipeline
from numpy.typing import NDArray

from parity.ensembles.cases import EnsembleCase
from parity.pipeline import reference as pipeline
from parity.reference import Model


def run(
    case: EnsembleCase, models: Mapping[str, Model], refiner: Mapping[str, Model]
) -> NDArray[np.uint8]:
    """Return diffusers' image, [H, W, 3]. The refiner decodes with the base model's VAE.

    https://huggingface.co/docs/diffusers/v0.42.1/using-diffusers/sdxl#base-to-refiner-model
    """
    first = pipeline.pipeline_of(case.image, models)
    given = pipeline.beginning(case.image)
    latents = pipeline.images(case.image, first, output="latent", denoising_end=case.end, **given)
    shared = {**refiner, "vae": models["vae"]}
    second = pipeline.pipeline_of(case.refined, shared, StableDiffusionXLImg2ImgPipeline)
    before = first.num_timesteps
    images = pipeline.images(
        case.refined, second, before=before, image=latents, denoising_start=case.end
    )
    return np.asarray(images[0])
