"""Compares images that a refiner finishes with diffusers, on random models."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import torch

from parity import reference
from parity.components.live import randomise
from parity.ensembles import ours
from parity.ensembles import reference as libraries
from parity.ensembles.cases import MODEL, REFINER, EnsembleCase, all_cases
from parity.pipeline import ours as pipeline
from parity.report import Comparison

IMAGES = "image with a refiner, of 255"


def compare(seed: int) -> Iterator[Comparison]:
    """Compare all cases; the seed determines weights, noise and prompts."""
    torch.manual_seed(seed)
    models, refiner = reference.build(MODEL), reference.build(REFINER)
    randomise(models)
    randomise(refiner)

    def seeded(case: EnsembleCase) -> EnsembleCase:
        prompt = f"{case.image.prompt} {seed}"
        return replace(case, image=replace(case.image, seed=seed % 2**31, prompt=prompt))

    by_engine = sorted(map(seeded, all_cases()), key=lambda case: case.image.engine)
    with tempfile.TemporaryDirectory() as name:
        reference.pipeline(refiner).save_pretrained(Path(name) / "refiner")
        for key, cases in groupby(by_engine, lambda case: case.image.engine):
            folder = Path(name) / key.replace("/", " ")
            reference.pipeline(models).save_pretrained(folder)
            group: list[EnsembleCase] = list(cases)
            engine = ours.engine_for(group[0], folder, Path(name) / "refiner")
            for case in group:
                theirs = libraries.run(case, models, refiner)
                measured = pipeline.difference(ours.run(case, engine), theirs)
                yield Comparison(IMAGES, case.name, measured, pipeline.LIMIT)
