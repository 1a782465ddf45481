"""Compares images with several of these at once with diffusers, on random models."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import torch

from parity import reference
from parity.components.live import randomise
from parity.pipeline import ours as pipeline
from parity.report import Comparison
from parity.together import ours
from parity.together import reference as libraries
from parity.together.cases import MODELS, TOGETHER_CASES, TogetherCase

IMAGES = "image with LoRA, net, IP-Adapter, of 255"


def compare(seed: int) -> Iterator[Comparison]:
    """Compare all cases; the seed determines the models, noise and pictures."""
    by_name = {model.name: model for model in MODELS}
    for number, (model, group) in enumerate(groupby(TOGETHER_CASES, _model_name)):
        torch.manual_seed(seed + number)
        models = reference.build(by_name[model])
        randomise(models)
        cases = [replace(case, image=replace(case.image, seed=seed % 2**31)) for case in group]
        with tempfile.TemporaryDirectory() as name:
            folder, files = Path(name) / "model", Path(name) / "files"
            reference.pipeline(models).save_pretrained(folder)
            files.mkdir()
            ours.write_files(files, by_name[model], reference.shapes(models))
            engine = ours.engine_for(cases[0], folder, files)
            for case in cases:
                theirs = libraries.run(case, models, files)
                measured = pipeline.difference(ours.run(case, engine), theirs)
                yield Comparison(IMAGES, case.name, measured, pipeline.LIMIT)


def _model_name(case: TogetherCase) -> str:
    return case.image.model.name
