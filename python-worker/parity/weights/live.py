"""Compares weighted prompts with compel and with AUTOMATIC1111's rule, on random checkpoints."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from parity import reference
from parity.components.live import randomise
from parity.pipeline import ours as our_pipeline
from parity.report import Comparison, relative_difference
from parity.weights import reference as weighted
from parity.weights.cases import IMAGE, WEIGHTS_CASES, spec_of

LIMIT = 1e-4
"""The largest difference of a context from the reference's, relative to its largest value."""


def compare(seed: int) -> Iterator[Comparison]:
    """Compare all cases: the embeddings, and diffusers' image from them."""
    torch.manual_seed(seed)
    models = reference.build(IMAGE.model)
    randomise(models)
    with tempfile.TemporaryDirectory() as folder:
        reference.pipeline(models).save_pretrained(folder)
        engine = our_pipeline.engine_for(IMAGE, Path(folder), chunks=2)
    for case in WEIGHTS_CASES:
        expected = weighted.encode(case, models)
        spec = spec_of(case, expected.tokens)
        lane_prompt = engine.prompts_of(spec)[-1].prompt
        measured = relative_difference(np.asarray(lane_prompt.context), expected.context[0].numpy())
        yield Comparison("weighted prompt", case.name, measured, LIMIT)
        image = our_pipeline.make(engine, spec, IMAGE.noise())
        difference = our_pipeline.difference(image, weighted.image(expected, models))
        yield Comparison("image, of 255", f"weights: {case.name}", difference, our_pipeline.LIMIT)
