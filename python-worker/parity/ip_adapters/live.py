"""Compares what IP-Adapters make of a picture, and whole images, with diffusers."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import torch

from parity import reference
from parity.components.live import FLOAT32_LIMIT, Models, randomise
from parity.ip_adapters import ours
from parity.ip_adapters import reference as libraries
from parity.ip_adapters.cases import IMAGE, IP_ADAPTER_CASES, IpAdapterCase
from parity.ip_adapters.files import FILES, picture, unet_of
from parity.pipeline import ours as pipeline
from parity.report import Comparison, relative_difference

SUBJECT = "image with IP-Adapter, of 255"
SIZES = ((53, 37), (30, 200), (28, 28), (9, 31))
"""Of pictures: wide, tall, as the encoder's, and smaller."""


def compare(seed: int) -> Iterator[Comparison]:
    """Compare parts and whole images; the seed determines weights and pictures."""
    for number, (_, group) in enumerate(groupby(IP_ADAPTER_CASES, _model_name)):
        cases = list(group)
        model = cases[0].image.model
        torch.manual_seed(seed + number)
        models = reference.build(model)
        randomise(models)
        with tempfile.TemporaryDirectory() as name:
            folder, adapters = Path(name) / "model", Path(name) / "adapters"
            reference.pipeline(models).save_pretrained(folder)
            engine = ours.engine_for(model, folder, adapters, seed)
            if model is IMAGE.model:
                yield from compare_parts(models, adapters, seed)
            for case in cases:
                seeded = replace(case, image=replace(case.image, seed=seed))
                theirs = libraries.run(seeded, models, adapters)
                own = pipeline.make(engine, seeded.spec(engine), *seeded.noises())
                yield Comparison(
                    SUBJECT, case.name, pipeline.difference(own, theirs), pipeline.LIMIT
                )


def _model_name(case: IpAdapterCase) -> str:
    return case.image.model.name


def compare_parts(models: Models, folder: Path, seed: int) -> Iterator[Comparison]:
    """Compare what both kinds of adapters make of pictures."""
    for file in FILES:
        diffusers = libraries.loaded(IMAGE, models, file, folder)
        for width, height in SIZES:
            given = picture(seed, width=width, height=height)
            own = ours.run(folder / file.name, unet_of(IMAGE.model), given)
            theirs = libraries.parts(diffusers, given)
            for part, one, other in zip(own._fields, own, theirs, strict=True):
                limit = 0 if part == "pixels" else FLOAT32_LIMIT
                measured = relative_difference(one, other)
                case = f"{file.name} {width}x{height}"
                yield Comparison(f"ip adapter {part}", case, measured, limit)
