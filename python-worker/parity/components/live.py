"""Compares each of the four models with diffusers and transformers."""

import tempfile
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import torch

from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.model.params import declared
from parity import cases, ours, reference
from parity.cases import CASES, Case
from parity.components import tiles
from parity.report import Comparison, relative_difference

FLOAT32_LIMIT = 1e-4
RANDOM_SHAPES = 4
LATENTS = (16, 16)
BASE_CONFIG = Path(__file__).parents[3] / "models" / "sdxl-base-config"

Models = Mapping[str, reference.Model]


def compare(seed: int) -> Iterator[Comparison]:
    """Compare SDXL base's tensor names, and the outputs of fixed cases and random shapes."""
    yield from compare_names(BASE_CONFIG)
    drawn = [cases.draw(seed + i) for i in range(RANDOM_SHAPES)]
    for i, case in enumerate((*CASES, *drawn)):
        yield from compare_random(case, seed + i)


def compare_random(case: Case, seed: int) -> Iterator[Comparison]:
    """Save a random model with diffusers, load it with our loader, compare all outputs."""
    torch.manual_seed(seed)
    models = reference.build(case)
    randomise(models)
    with tempfile.TemporaryDirectory() as folder:
        # Small shards, so that the larger parts are saved as several files.
        reference.pipeline(models).save_pretrained(folder, max_shard_size="1MB")
        yield from compare_outputs(case, models, Path(folder), seed)


def compare_folder(folder: Path, seed: int) -> Iterator[Comparison]:
    """Compare all outputs of a model that is on disk."""
    case = cases.from_folder(folder, LATENTS)
    yield from compare_outputs(case, reference.read(folder), folder, seed)


def compare_outputs(case: Case, models: Models, folder: Path, seed: int) -> Iterator[Comparison]:
    """Run the reference's models and ours, loaded from the folder, on the same inputs."""
    given = reference.inputs(case, seed)
    expected = reference.run(models, given)
    parts = ours.load(folder, jnp.float32)
    outputs = ours.run(parts, given)
    for name, value in expected.items():
        measured = relative_difference(outputs[name], value)
        yield Comparison(name, case.name, measured, FLOAT32_LIMIT)
    latents = tiles.latents(seed)
    measured = relative_difference(
        ours.decode_in_tiles(parts["vae"], latents, tiles.TILE),
        reference.decode_in_tiles(models["vae"], latents, tiles.TILE),
    )
    yield Comparison("vae.decode in tiles", case.name, measured, FLOAT32_LIMIT)


def compare_names(folder: Path) -> Iterator[Comparison]:
    """Count the tensors whose declared name or shape differs, for configs without weights."""
    with torch.device("meta"):
        models = reference.build(cases.from_folder(folder, LATENTS))
    trees = ours.declare(load_config(folder))
    for part, expected in reference.shapes(models).items():
        wrong = declared_shapes(trees[part], expected).items() ^ expected.items()
        yield Comparison(f"{part} tensors", folder.name, len(wrong), 0)


def declared_shapes(tree: Any, names: Container[str]) -> dict[str, tuple[int, ...]]:
    """Return our declared shapes, each under the one of its names that is in `names`."""
    return {
        next((alias for alias in p.aliases if alias in names), p.name): p.stored
        for p in declared(tree)
    }


def randomise(models: Models) -> None:
    """Add noise to all parameters: fresh norms and biases are ones and zeros, which hide errors."""
    with torch.no_grad():
        for model in models.values():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1 / max(parameter.ndim, 1))
