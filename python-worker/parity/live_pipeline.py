"""Whole images by our engine and by diffusers' pipeline, on fresh random checkpoints."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import torch

from parity import our_pipeline, reference, reference_pipeline
from parity.live_components import randomise
from parity.pipeline_cases import PIPELINE_CASES, PipelineCase
from parity.report import Comparison


def compare(seed: int) -> Iterator[Comparison]:
    """All cases, with weights, noise and prompts decided by the seed."""
    seeded = [replace(case, seed=seed, prompt=f"{case.prompt} {seed}") for case in PIPELINE_CASES]
    for number, (_, cases) in enumerate(groupby(seeded, lambda case: case.engine)):
        yield from compare_engine(list(cases), seed + number)


def compare_engine(cases: list[PipelineCase], seed: int) -> Iterator[Comparison]:
    """Cases that share an engine: one random model, saved by diffusers, loaded by us."""
    torch.manual_seed(seed)
    models = reference.build(cases[0].model)
    randomise(models)
    with tempfile.TemporaryDirectory() as folder:
        reference.pipeline(models).save_pretrained(folder)
        engine = our_pipeline.engine_for(cases[0], Path(folder))
    for case in cases:
        expected = reference_pipeline.run(case, models)
        measured = our_pipeline.difference(our_pipeline.run(case, engine), expected)
        yield Comparison("image, of 255", case.name, measured, our_pipeline.LIMIT)
