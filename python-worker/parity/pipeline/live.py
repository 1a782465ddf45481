"""Compares whole images with diffusers' pipeline, on random checkpoints or a given one."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from numpy.typing import NDArray

from easel_worker.engine import ImageSpec, Tokens
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from parity import reference
from parity.cases import Case
from parity.components.live import randomise
from parity.pipeline import ours as our_pipeline
from parity.pipeline import reference as reference_pipeline
from parity.pipeline.cases import (
    PICTURE_CASES,
    PIPELINE_CASES,
    PipelineCase,
    hires_cases,
    inpainting_cases,
    picture_cases,
    refiner_cases,
)
from parity.report import Comparison

SUBJECT = "image, of 255"

Pixels = NDArray[np.uint8]


class Named(Protocol):
    """A case."""

    @property
    def name(self) -> str:
        """The case's name."""


C = TypeVar("C", bound=Named)


def compare(seed: int) -> Iterator[Comparison]:
    """Compare all cases; the seed determines weights, noise and prompts."""
    all_cases = (
        *PIPELINE_CASES,
        *PICTURE_CASES,
        *picture_cases(),
        *inpainting_cases(),
        *refiner_cases(),
        *hires_cases(),
    )
    by_engine = groupby((seeded(case, seed) for case in all_cases), lambda case: case.engine)
    for number, (_, cases) in enumerate(by_engine):
        yield from compare_engine(list(cases), seed + number)


def seeded(case: PipelineCase, seed: int) -> PipelineCase:
    """Return a case with the prompt and the noise of a seed."""
    return replace(case, seed=seed % 2**31, prompt=f"{case.prompt} {seed}")


def compare_engine(cases: list[PipelineCase], seed: int) -> Iterator[Comparison]:
    """Compare cases that share an engine."""
    models = random_models(cases[0].model, seed)
    yield from compare_group(
        SUBJECT,
        cases,
        models,
        engine_for=our_pipeline.engine_for,
        ours=our_pipeline.run,
        theirs=lambda case: reference_pipeline.run(case, models),
    )


def random_models(model: Case, seed: int) -> dict[str, reference.Model]:
    """Build a model with weights that a seed determines."""
    torch.manual_seed(seed)
    models = reference.build(model)
    randomise(models)
    return models


def compare_group(
    subject: str,
    cases: Sequence[C],
    models: Mapping[str, reference.Model],
    *,
    engine_for: Callable[[C, Path], SdxlEngine],
    ours: Callable[[C, SdxlEngine], Pixels],
    theirs: Callable[[C], Pixels],
) -> Iterator[Comparison]:
    """Compare images of one model, saved by diffusers and loaded by us.

    Args:
        subject: of the comparisons.
        cases: those that share an engine.
        models: the model's parts.
        engine_for: makes our engine from any of the cases and the model's folder.
        ours: makes our image.
        theirs: makes diffusers'.
    """
    with tempfile.TemporaryDirectory() as folder:
        reference.pipeline(models).save_pretrained(folder)
        engine = engine_for(cases[0], Path(folder))
    for case in cases:
        measured = our_pipeline.difference(ours(case, engine), theirs(case))
        yield Comparison(subject, case.name, measured, our_pipeline.LIMIT)


@dataclass(frozen=True)
class _Wish:
    """The prompts for a model that is on disk."""

    prompt: str
    negative: str | None
    guided: bool


_WISHES = (
    _Wish("a red circle on a blue background", None, guided=True),
    _Wish("a yellow triangle left of a green square", "blurry, dark", guided=True),
    _Wish("a white star", None, guided=False),
)


def compare_folder(folder: Path, seed: int) -> Iterator[Comparison]:
    """Compare a model folder, with its own tokenizers and its own defaults."""
    engine = SdxlEngine(folder, Options(dtype="float32", max_prompt_chunks=1))
    engine.warm(lambda _: None)
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    for wish in _WISHES:
        spec = _spec(engine, pipeline, wish, seed)
        scale = pipeline.vae_scale_factor
        shape = (spec.height // scale, spec.width // scale, 4)
        noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        result = pipeline(
            prompt=wish.prompt,
            negative_prompt=wish.negative,
            width=spec.width,
            height=spec.height,
            num_inference_steps=spec.steps,
            guidance_scale=spec.guidance,
            latents=torch.from_numpy(noise.transpose(2, 0, 1)[None].copy()),
        )
        ours = our_pipeline.make(engine, spec, noise)
        measured = our_pipeline.difference(ours, np.asarray(result.images[0]))
        name = f"{folder.name}: {wish.prompt!r} without {wish.negative!r}, {spec.guidance}"
        yield Comparison(SUBJECT, name, measured, our_pipeline.LIMIT)


def _spec(
    engine: SdxlEngine, pipeline: StableDiffusionXLPipeline, wish: _Wish, seed: int
) -> ImageSpec:
    def tokens(text: str) -> Tokens:
        return Tokens(
            *(
                tuple(tokenizer(text, padding="max_length", truncation=True).input_ids)
                for tokenizer in (pipeline.tokenizer, pipeline.tokenizer_2)
            )
        )

    defaults = engine.capabilities.defaults
    return ImageSpec(
        prompt=tokens(wish.prompt),
        negative=None if wish.negative is None else tokens(wish.negative),
        seed=seed,
        steps=defaults.num_inference_steps,
        guidance=defaults.guidance_scale if wish.guided else 1.0,
        scheduler=defaults.scheduler,
        width=defaults.width,
        height=defaults.height,
    )
