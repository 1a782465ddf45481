"""Compares what IP-Adapters make of a picture, and whole images, with diffusers."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

from parity.components.live import FLOAT32_LIMIT, Models
from parity.ip_adapters import ours
from parity.ip_adapters import reference as libraries
from parity.ip_adapters.cases import IMAGE, IP_ADAPTER_CASES, IpAdapterCase
from parity.ip_adapters.files import FILES, picture, unet_of
from parity.pipeline.live import compare_group, random_models, seeded
from parity.report import Comparison, relative_difference

SUBJECT = "image with IP-Adapter, of 255"
SIZES = ((53, 37), (30, 200), (28, 28), (9, 31))
"""Of pictures: wide, tall, as the encoder's, and smaller."""


def compare(seed: int) -> Iterator[Comparison]:
    """Compare parts and whole images; the seed determines weights, prompts and pictures."""
    cases = (replace(case, image=seeded(case.image, seed)) for case in IP_ADAPTER_CASES)
    for number, (_, group) in enumerate(groupby(cases, _model_name)):
        own = list(group)
        model = own[0].image.model
        models = random_models(model, seed + number)
        with tempfile.TemporaryDirectory() as name:
            adapters = Path(name)
            yield from compare_group(
                SUBJECT,
                own,
                models,
                engine_for=partial(ours.engine_for, adapters=adapters, seed=seed),
                ours=ours.image,
                theirs=partial(libraries.run, models=models, folder=adapters),
            )
            if model is IMAGE.model:
                yield from compare_parts(models, adapters, seed)


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
