"""Runs diffusers' own pipelines on a pipeline case. Needs torch."""

import itertools
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from diffusers import (
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.models.autoencoders import vae as autoencoders
from numpy.typing import NDArray
from PIL import Image

from easel_worker.sdxl.serving.programs import draw_noise
from easel_worker.values import Upscaler
from parity.pipeline.cases import Hires, PipelineCase
from parity.reference import Model
from parity.schedulers.reference import scheduler_of

_SETTINGS = ("timestep_spacing",)
"""What a request says to us, and the scheduler's configuration to diffusers."""

_LISTS = ("timesteps", "sigmas")


class _Tokenizer:
    """The part of a tokenizer's interface that the pipeline uses."""

    def __init__(self, case: PipelineCase, name: str) -> None:
        self._case, self._name = case, name
        self.model_max_length = len(case.ids("", name))

    def __call__(self, text: str | list[str], **_: Any) -> SimpleNamespace:
        texts = [text] if isinstance(text, str) else text
        ids = [self._case.ids(each, self._name) for each in texts]
        return SimpleNamespace(input_ids=torch.tensor(ids))

    def tokenize(self, _: str) -> list[str]:
        return []  # the pipeline only looks for textual inversions; there are none


def pipeline_of(
    case: PipelineCase, models: Mapping[str, Any], kind: Any = None, **more: Any
) -> Any:
    """Return diffusers' pipeline with a case's tokenizers and scheduler.

    Args:
        case: the case.
        models: the pipeline's models.
        kind: its class; None for that of an image without controls.
        more: further arguments of the class.
    """
    config = case.scheduler_config | {k: case.more[k] for k in _SETTINGS if k in case.more}
    if kind is None:
        kind = StableDiffusionXLPipeline
        if case.strength is not None:
            kind = StableDiffusionXLImg2ImgPipeline
        if case.masked or case.inpainting:
            kind = _Inpainting
    if case.refiner:
        models = {**models, "text_encoder": None}
        more = {**more, "requires_aesthetics_score": True}
    pipeline = kind(
        **models,
        tokenizer=None if case.refiner else _Tokenizer(case, "tokenizer"),
        tokenizer_2=_Tokenizer(case, "tokenizer_2"),
        scheduler=scheduler_of(case.scheduler, config),
        force_zeros_for_empty_prompt=case.zeros_for_no_negative,
        **({"add_watermarker": False} | more),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class _Inpainting(StableDiffusionXLInpaintPipeline):
    """Scales latents as the other pipelines do: diffusers' leaves out mean and deviation."""

    def _encode_vae_image(self, image: torch.Tensor, generator: Any) -> torch.Tensor:
        latents = super()._encode_vae_image(image, generator)
        config = self.vae.config
        if config.latents_mean is None:
            return latents
        mean, std = (
            torch.tensor(each).view(1, -1, 1, 1)
            for each in (config.latents_mean, config.latents_std)
        )
        return (latents - mean * config.scaling_factor) / std


def run(case: PipelineCase, models: Mapping[str, Model]) -> NDArray[np.uint8]:
    """Return diffusers' image, [H, W, 3]."""
    if case.hires is not None:
        return _two_passes(case, case.hires, models)
    return call(case, pipeline_of(case, models))


MODES = {
    "latent": ("bilinear", False),
    "latent-antialiased": ("bilinear", True),
    "latent-bicubic": ("bicubic", False),
    "latent-bicubic-antialiased": ("bicubic", True),
    "latent-nearest": ("nearest", False),
    "latent-nearest-exact": ("nearest-exact", False),
}
"""Torch's arguments for each of our names.

https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/shared.py
"""


def scaled(
    latents: NDArray[np.float32], height: int, width: int, upscaler: Upscaler
) -> NDArray[np.float32]:
    """Return latents [h, w, channels] as torch scales them."""
    mode, antialias = MODES[upscaler]
    made = torch.nn.functional.interpolate(
        _in_torch(latents), size=(height, width), mode=mode, antialias=antialias
    )
    return made[0].numpy().transpose(1, 2, 0)


def _two_passes(case: PipelineCase, hires: Hires, models: Mapping[str, Model]) -> NDArray[np.uint8]:
    """AUTOMATIC1111's second pass with an upscaler of latents, by diffusers' pipelines.

    https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/processing.py#L1372
    """
    first = case.first_pass
    latents = images(first, pipeline_of(first, models), output="latent", **beginning(first))
    small = latents[0].numpy().transpose(1, 2, 0)
    width, height = case.size
    begun = _in_torch(scaled(small, height, width, hires.upscaler))
    given = beginning(case) | {"image": begun}
    return np.asarray(images(case, pipeline_of(case, models), **given)[0])


def call(case: PipelineCase, pipeline: Any, **more: Any) -> NDArray[np.uint8]:
    """Return the image of a pipeline, [H, W, 3], which also gets the arguments `more`."""
    return np.asarray(images(case, pipeline, **beginning(case), **more)[0])


def images(
    case: PipelineCase, pipeline: Any, *, before: int = 0, output: str = "pil", **more: Any
) -> Any:
    """Return the images of a pipeline, which also gets the arguments `more`.

    Args:
        case: the case, without what its image begins from.
        pipeline: of the case.
        before: how many evaluations of the image another pipeline did before this one.
        output: the pipeline's `output_type`.
        more: further arguments.
    """
    with _our_noise(case, pipeline, before):
        return pipeline(
            prompt=case.prompt,
            negative_prompt=case.negative,
            num_inference_steps=case.steps,
            guidance_scale=case.guidance,
            clip_skip=case.clip_skip or None,
            output_type=output,
            **_arguments(case),
            **more,
        ).images


def beginning(case: PipelineCase) -> dict[str, Any]:
    """Return the arguments that say what the image begins from."""
    width, height = case.pixels
    if case.strength is None and not case.inpainting:
        return {"width": width, "height": height, "latents": _in_torch(case.noise())}
    strength = 1.0 if case.strength is None else case.strength
    given = {"image": Image.fromarray(case.picture()), "strength": strength}
    if not case.masked and not case.inpainting:
        return given
    mask = case.mask() if case.masked else np.full_like(case.mask(), 255)
    return given | {
        "mask_image": Image.fromarray(mask[..., 0]),
        "width": width,
        "height": height,
    }


def _in_torch(latents: NDArray[np.float32]) -> torch.Tensor:
    """[h, w, channels] → [1, channels, h, w]."""
    return torch.from_numpy(latents.transpose(2, 0, 1)[None].copy())


def _arguments(case: PipelineCase) -> dict[str, Any]:
    """Return the pipeline's further arguments. Schedulers want lists."""
    return {
        name: list(value) if name in _LISTS else value
        for name, value in case.more.items()
        if name not in _SETTINGS
    }


@contextmanager
def _our_noise(case: PipelineCase, pipeline: Any, before: int) -> Iterator[None]:
    """Give diffusers the noise that our engine gets, and that it draws from the case's seed."""
    width, height = case.size
    scheduler, steps = pipeline.scheduler, itertools.count()

    def fresh(*_: Any, **__: Any) -> torch.Tensor:
        step = next(steps)
        # DDIM and DDPM have no indices.
        first = getattr(scheduler, "begin_index", 0)
        evaluation = getattr(scheduler, "step_index", step + first) - first
        noise = draw_noise(case.seed, 1 + before + evaluation, shape=(height, width, 4))
        return _in_torch(np.asarray(noise))

    def given(noise: NDArray[np.float32]) -> Any:
        return lambda *_, **__: _in_torch(noise)

    # Inpainting's own subclass draws in the module of its base.
    kind = next(each for each in type(pipeline).__mro__ if each.__module__.startswith("diffusers"))
    with ExitStack() as stack:
        for module, draw in (
            (sys.modules[type(scheduler).__module__], fresh),
            (sys.modules[kind.__module__], given(case.noise())),
            (autoencoders, given(case.posterior())),
        ):
            stack.enter_context(mock.patch.object(module, "randn_tensor", draw, create=True))
        yield
