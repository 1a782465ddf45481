"""Builds the engine from its options. Imports jax only when it is called."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from easel_worker.engine import Engine
from easel_worker.sdxl.serving.options import Options
from easel_worker.timeline import Timeline

if TYPE_CHECKING:
    from easel_worker.sdxl.serving.other_unet import OtherUNet


def build(model: Path | None, options: Options, timeline: Timeline | None) -> Engine:
    """See `engines.Build`."""
    if model is None:
        raise ValueError("the sdxl engine needs a model folder")
    return build_with(model, options, timeline)


def build_with(
    model: Path, options: Options, timeline: Timeline | None, other: "OtherUNet | None" = None
) -> Engine:
    """Build the engine, with another UNet if there is one; see `SdxlEngine`."""
    # ruff: noqa: PLC0415 - importing these takes seconds and opens a device
    from easel_worker.sdxl.serving.compilation import cache_programs_in
    from easel_worker.sdxl.serving.engine import SdxlEngine

    if options.compile_cache is not None:
        cache_programs_in(options.compile_cache)
    behind = replace(options, compile_behind=True)
    return SdxlEngine(model, behind, timeline, other=other)
