"""Compares whole images with diffusers' pipeline, on random checkpoints or a given one."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline

from easel_worker.engine import ImageSpec, Tokens
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from parity import reference
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
    seeded = [replace(case, seed=seed, prompt=f"{case.prompt} {seed}") for case in all_cases]
    for number, (_, cases) in enumerate(groupby(seeded, lambda case: case.engine)):
        yield from compare_engine(list(cases), seed + number)


def compare_engine(cases: list[PipelineCase], seed: int) -> Iterator[Comparison]:
    """Compare cases that share an engine: one random model, saved by diffusers, loaded by us."""
    torch.manual_seed(seed)
    models = reference.build(cases[0].model)
    randomise(models)
    with tempfile.TemporaryDirectory() as folder:
        reference.pipeline(models).save_pretrained(folder)
        engine = our_pipeline.engine_for(cases[0], Path(folder))
    for case in cases:
        expected = reference_pipeline.run(case, models)
        measured = our_pipeline.difference(our_pipeline.run(case, engine), expected)
        yield Comparison(SUBJECT, case.name, measured, our_pipeline.LIMIT)


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
