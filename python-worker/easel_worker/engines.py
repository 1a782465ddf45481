"""The registry of engines.

To add an engine, write a package with a dataclass of options and a function that builds the engine,
and add a line here. Importing an engine's options must not import jax; its build function may.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from easel_worker.engine import Engine
from easel_worker.fake.engine import build as build_fake
from easel_worker.fake.options import Options as FakeOptions
from easel_worker.maxdiffusion.build import build as build_maxdiffusion
from easel_worker.maxdiffusion.options import Options as MaxDiffusionOptions
from easel_worker.sdxl.serving.build import build as build_sdxl
from easel_worker.sdxl.serving.options import Options as SdxlOptions
from easel_worker.timeline import Timeline

Build = Callable[[Path | None, Any, Timeline | None], Engine]
"""Builds an engine from a model's folder and the engine's options; the caller calls `warm`.

Records in the time line how long it takes. Raises ValueError or OSError if it fails."""


class Registered(NamedTuple):
    """An engine's entry in the registry.

    Attributes:
        options: its dataclass of options, see `easel_worker.options`; the constructor raises
            ValueError for values that contradict each other.
        build: builds the engine from an instance of `options`.
        about: what it does, for `--help`; completes the sentence "NAME …".
        needs_model: whether it needs a model's folder.
    """

    options: type
    build: Build
    about: str
    needs_model: bool


ENGINES: Mapping[str, Registered] = {
    "sdxl": Registered(SdxlOptions, build_sdxl, "makes images", needs_model=True),
    "fake": Registered(
        FakeOptions,
        build_fake,
        "makes pictures that tests can compute, without a model",
        needs_model=False,
    ),
    "maxdiffusion": Registered(
        MaxDiffusionOptions,
        build_maxdiffusion,
        "makes images with MaxDiffusion's UNet, where that is installed",
        needs_model=True,
    ),
}
