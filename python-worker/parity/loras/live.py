"""Compares merged weights with those of diffusers with PEFT and of LyCORIS."""

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
from parity.report import Comparison, relative_difference

SUBJECT = "merged weights"


def compare(seed: int) -> Iterator[Comparison]:
    """Compare all cases on a random model; the seed determines its weights."""
    torch.manual_seed(seed)
    models = reference.build(IMAGE.model)
    randomise(models)
    with tempfile.TemporaryDirectory() as folder:
        reference.pipeline(models).save_pretrained(folder)
        config = load_config(Path(folder))
    for case in LORA_CASES:
        yield Comparison(SUBJECT, case.name, _difference(case, config, models), ours.LIMIT)


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
