"""Compares prompts with embeddings, and whole images, with diffusers."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from parity import reference
from parity.components.live import FLOAT32_LIMIT, randomise
from parity.embeddings import ours
from parity.embeddings import reference as libraries
from parity.embeddings.cases import EMBEDDING_CASES, IMAGE
from parity.pipeline import ours as pipeline
from parity.report import Comparison, relative_difference

PROMPTS = "prompts with embeddings"
IMAGES = "image with embeddings, of 255"


def compare(seed: int) -> Iterator[Comparison]:
    """Compare all cases on a random model; the seed determines its weights."""
    torch.manual_seed(seed)
    models = reference.build(IMAGE.model)
    randomise(models)
    with tempfile.TemporaryDirectory() as name:
        folder, files = Path(name) / "model", Path(name) / "files"
        files.mkdir()
        reference.pipeline(models).save_pretrained(folder)
        engine = ours.engine_for(folder, files, reference.shapes(models))
        for case in EMBEDDING_CASES:
            theirs, prompts = libraries.run(case, models)
            spec = case.spec(engine)
            own = [np.asarray(array) for each in engine.prompts_of(spec) for array in each.prompt]
            measured = max(relative_difference(*pair) for pair in zip(own, prompts, strict=True))
            yield Comparison(PROMPTS, case.name, measured, FLOAT32_LIMIT)
            image = pipeline.make(engine, spec, IMAGE.noise())
            yield Comparison(IMAGES, case.name, pipeline.difference(image, theirs), pipeline.LIMIT)
