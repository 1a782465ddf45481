"""Runs diffusers' own StableDiffusionXLPipeline on a pipeline case. Needs torch."""

import itertools
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from numpy.typing import NDArray

from easel_worker.sdxl.serving.programs import draw_noise
from parity.pipeline.cases import PipelineCase
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


def pipeline_of(case: PipelineCase, models: Mapping[str, Model]) -> StableDiffusionXLPipeline:
    """Return diffusers' pipeline with a case's tokenizers and scheduler."""
    config = case.scheduler_config | {k: case.more[k] for k in _SETTINGS if k in case.more}
    pipeline = StableDiffusionXLPipeline(
        **models,
        tokenizer=_Tokenizer(case, "tokenizer"),
        tokenizer_2=_Tokenizer(case, "tokenizer_2"),
        scheduler=scheduler_of(case.scheduler, config),
        force_zeros_for_empty_prompt=case.zeros_for_no_negative,
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(case: PipelineCase, models: Mapping[str, Model]) -> NDArray[np.uint8]:
    """Return diffusers' image, [H, W, 3]."""
    pipeline = pipeline_of(case, models)
    width, height = case.pixels
    with _our_noise(case, pipeline.scheduler):
        result = pipeline(
            prompt=case.prompt,
            negative_prompt=case.negative,
            width=width,
            height=height,
            num_inference_steps=case.steps,
            guidance_scale=case.guidance,
            clip_skip=case.clip_skip or None,
            latents=torch.from_numpy(case.noise().transpose(2, 0, 1)[None].copy()),
            output_type="pil",
            **_arguments(case),
        )
    return np.asarray(result.images[0])


def _arguments(case: PipelineCase) -> dict[str, Any]:
    """Return the pipeline's further arguments. Schedulers want lists."""
    return {
        name: list(value) if name in _LISTS else value
        for name, value in case.more.items()
        if name not in _SETTINGS
    }


@contextmanager
def _our_noise(case: PipelineCase, scheduler: Any) -> Iterator[None]:
    """Make the scheduler draw the noise that our engine draws from the case's seed."""
    width, height = case.size
    steps = itertools.count()

    def draw(*_: Any, **__: Any) -> torch.Tensor:
        step = next(steps)
        evaluation = getattr(scheduler, "step_index", step)  # DDPM's has none
        noise = draw_noise(case.seed, 1 + evaluation, shape=(height, width, 4))
        return torch.from_numpy(np.asarray(noise).transpose(2, 0, 1)[None].copy())

    module = sys.modules[type(scheduler).__module__]
    with mock.patch.object(module, "randn_tensor", draw, create=True):
        yield
