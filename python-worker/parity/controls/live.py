"""Compares images that follow pictures with diffusers, on random nets and a random model."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import torch

from parity import reference
from parity.components.live import randomise
from parity.controls import ours
from parity.controls import reference as libraries
from parity.controls.cases import CONTROL_CASES, MODEL, ControlCase
from parity.pipeline import ours as pipeline
from parity.report import Comparison

IMAGES = "image with controls, of 255"


def compare(seed: int) -> Iterator[Comparison]:
    """Compare all cases; the seed determines weights, noise and pictures."""
    torch.manual_seed(seed)
    models, nets = reference.build(MODEL), libraries.build()
    randomise(models)
    randomise(nets)
    seeded = sorted(
        (replace(case, image=replace(case.image, seed=seed % 2**31)) for case in CONTROL_CASES),
        key=lambda case: case.image.engine,
    )
    with tempfile.TemporaryDirectory() as name:
        libraries.save(nets, Path(name) / "nets")
        for engine_key, cases in groupby(seeded, lambda case: case.image.engine):
            folder = Path(name) / engine_key.replace("/", " ")
            reference.pipeline(models).save_pretrained(folder)
            group: list[ControlCase] = list(cases)
            engine = ours.engine_for(group[0], folder, Path(name) / "nets")
            for case in group:
                theirs = libraries.run(case, models, nets)
                measured = pipeline.difference(ours.run(case, engine), theirs)
                yield Comparison(IMAGES, case.name, measured, pipeline.LIMIT)
