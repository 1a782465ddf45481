"""Compares what IP-Adapters make of a picture with transformers and diffusers."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from parity import cases, reference
from parity.components.live import FLOAT32_LIMIT, randomise
from parity.ip_adapters import ours
from parity.ip_adapters import reference as libraries
from parity.ip_adapters.files import FILES, picture, unet_of
from parity.pipeline.cases import PipelineCase
from parity.report import Comparison, relative_difference

MODEL = cases.SDXL_BASE_IN_SMALL
SIZES = ((53, 37), (30, 200), (28, 28), (9, 31))
"""Of pictures: wide, tall, as the encoder's, and smaller."""


def compare(seed: int) -> Iterator[Comparison]:
    """Compare both kinds of adapters; the seed determines weights and pictures."""
    torch.manual_seed(seed)
    models = reference.build(MODEL)
    randomise(models)
    image = PipelineCase("ip adapters", MODEL)
    with tempfile.TemporaryDirectory() as name:
        for file in FILES:
            folder = file.write(Path(name), MODEL, seed)
            pipeline = libraries.loaded(image, models, file, Path(name))
            for width, height in SIZES:
                given = picture(seed, width=width, height=height)
                own, theirs = (
                    ours.run(folder, unet_of(MODEL), given),
                    libraries.parts(pipeline, given),
                )
                for part, one, other in zip(own._fields, own, theirs, strict=True):
                    limit = 0 if part == "pixels" else FLOAT32_LIMIT
                    case = f"{file.name} {width}x{height}"
                    measured = relative_difference(one, other)
                    yield Comparison(f"ip adapter {part}", case, measured, limit)
