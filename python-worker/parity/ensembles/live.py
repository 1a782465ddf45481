"""Compares images that a refiner finishes with diffusers, on random models."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

from parity import reference
from parity.ensembles import ours
from parity.ensembles import reference as libraries
from parity.ensembles.cases import MODEL, REFINER, EnsembleCase, all_cases
from parity.pipeline.live import compare_group, random_models, seeded
from parity.report import Comparison

IMAGES = "image with a refiner, of 255"


def compare(seed: int) -> Iterator[Comparison]:
    """Compare all cases; the seed determines weights, noise, prompts and pictures."""
    models, refiner = random_models(MODEL, seed), random_models(REFINER, seed + 1)
    cases = (replace(case, image=seeded(case.image, seed)) for case in all_cases())
    with tempfile.TemporaryDirectory() as name:
        reference.pipeline(refiner).save_pretrained(name)
        for _, group in groupby(sorted(cases, key=_engine), _engine):
            yield from compare_group(
                IMAGES,
                list(group),
                models,
                engine_for=partial(ours.engine_for, refiner=Path(name)),
                ours=ours.run,
                theirs=partial(libraries.run, models=models, refiner=refiner),
            )


def _engine(case: EnsembleCase) -> str:
    return case.image.engine
