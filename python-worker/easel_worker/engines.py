"""The engines that there are: the one place that knows them all.

An engine is a package with its options and a function that builds it, and a line here. Importing
them takes no jax: what needs it is imported by the function.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from easel_worker.engine import Engine
from easel_worker.fake.engine import build as build_fake
from easel_worker.fake.options import Options as FakeOptions
from easel_worker.sdxl.serving.build import build as build_sdxl
from easel_worker.sdxl.serving.options import Options as SdxlOptions
from easel_worker.timeline import Timeline

Build = Callable[[Path | None, Any, Timeline | None], Engine]
"""Makes an engine, that still has to `warm`, of a model's folder and options.

It tells the time line what that takes, and raises ValueError or OSError if it cannot be."""


class Registered(NamedTuple):
    """An engine.

    Attributes:
        options: a dataclass, see `options`; its constructor raises ValueError for values that do
            not go together.
        build: takes what `options` makes.
        about: what it does, for the help: continues "NAME …".
        needs_model: whether it cannot do without a model's folder.
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
}
