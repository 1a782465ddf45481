"""Compares images with several of these at once with diffusers, on random models."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

from parity import reference
from parity.pipeline.live import compare_group, random_models, seeded
from parity.report import Comparison
from parity.together import ours
from parity.together import reference as libraries
from parity.together.cases import MODELS, REFINER, TOGETHER_CASES, model_name

IMAGES = "image with LoRA, net, IP-Adapter, of 255"


def compare(seed: int) -> Iterator[Comparison]:
    """Compare all cases; the seed determines the models, noise, prompts and pictures."""
    by_name, refiner = {model.name: model for model in MODELS}, random_models(REFINER, seed)
    cases = (replace(case, image=seeded(case.image, seed)) for case in TOGETHER_CASES)
    for number, (name, group) in enumerate(groupby(cases, model_name)):
        models = random_models(by_name[name], seed + 1 + number)
        with tempfile.TemporaryDirectory() as folder:
            files = Path(folder) / "files"
            ours.write_files(files, by_name[name], reference.shapes(models))
            reference.pipeline(refiner).save_pretrained(Path(folder) / "refiner")
            yield from compare_group(
                IMAGES,
                list(group),
                models,
                engine_for=partial(ours.engine_for, files=files, refiner=Path(folder) / "refiner"),
                ours=ours.run,
                theirs=partial(libraries.run, models=models, refiner=refiner, files=files),
            )
