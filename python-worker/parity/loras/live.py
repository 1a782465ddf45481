"""Compares merged weights and whole images with diffusers with PEFT, and with LyCORIS."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.model.config import SdxlConfig
from parity import reference
from parity.components.live import randomise
from parity.loras import ours
from parity.loras import reference as libraries
from parity.loras.cases import IMAGE, LORA_CASES, LoraCase
from parity.loras.files import FILES
from parity.pipeline import ours as our_pipeline
from parity.report import Comparison, relative_difference

WEIGHTS = "merged weights"
IMAGES = "image with LoRAs, of 255"


def compare(seed: int) -> Iterator[Comparison]:
    """Compare all cases on a random model; the seed determines its weights."""
    torch.manual_seed(seed)
    models = reference.build(IMAGE.model)
    randomise(models)
    with tempfile.TemporaryDirectory() as name:
        folder, loras = Path(name) / "model", Path(name) / "loras"
        reference.pipeline(models).save_pretrained(folder)
        config = load_config(folder)
        loras.mkdir()
        for file in FILES.values():
            file.write(loras, reference.shapes(models))
        engine = our_pipeline.engine_for(IMAGE, folder, loras=loras)
        for case in LORA_CASES:
            yield Comparison(WEIGHTS, case.name, _difference(case, config, models), ours.LIMIT)
            image = our_pipeline.make(engine, ours.spec_with(case, engine), IMAGE.noise())
            measured = our_pipeline.difference(image, libraries.image(case, models))
            yield Comparison(IMAGES, case.name, measured, our_pipeline.LIMIT)


def _difference(case: LoraCase, config: SdxlConfig, models: Mapping[str, Any]) -> float:
    """The largest difference of a weight; infinite if other weights changed."""
    before = libraries.weights_of(models)
    theirs = libraries.changed(libraries.merged(case, models), before)
    made = ours.merged(case, config, before)
    if any(made[part].keys() != theirs[part].keys() for part in made):
        return float("inf")
    return max(
        relative_difference(values, theirs[part][name])
        for part in made
        for name, values in made[part].items()
    )
