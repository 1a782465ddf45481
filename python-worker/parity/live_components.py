"""Each of the four models against diffusers and transformers, on fresh random checkpoints."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax.numpy as jnp
import torch

from parity import ours, reference
from parity.cases import CASES, Case, draw
from parity.report import Comparison, relative_difference

FLOAT32_LIMIT = 1e-4
RANDOM_SHAPES = 4


def compare(seed: int) -> Iterator[Comparison]:
    """Every fixed case and a few random shapes, with weights drawn from the seed."""
    drawn = [draw(seed + i) for i in range(RANDOM_SHAPES)]
    for i, case in enumerate((*CASES, *drawn)):
        yield from compare_case(case, seed + i)


def compare_case(case: Case, seed: int) -> Iterator[Comparison]:
    """Save a random model with diffusers, load it with our loader, compare all outputs."""
    torch.manual_seed(seed)
    models = reference.build(case)
    randomise(models)
    given = reference.inputs(case, seed)
    expected = reference.run(models, given)
    with tempfile.TemporaryDirectory() as folder:
        # Small shards, so that the larger parts are saved in several.
        reference.pipeline(models).save_pretrained(folder, max_shard_size="1MB")
        config, params = ours.load(Path(folder), jnp.float32)
    outputs = ours.run(config, params, given)
    for name, value in expected.items():
        measured = relative_difference(outputs[name], value)
        yield Comparison(name, case.name, measured, FLOAT32_LIMIT)


def randomise(models: Mapping[str, reference.Model]) -> None:
    """Noise on all parameters: fresh norms and biases are ones and zeros, which hide mistakes."""
    with torch.no_grad():
        for model in models.values():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1 / max(parameter.ndim, 1))
