"""Builds the engine from its options. Imports jax only when it is called."""

from dataclasses import replace
from pathlib import Path

from easel_worker.engine import Engine
from easel_worker.sdxl.serving.options import Options
from easel_worker.timeline import Timeline


def build(model: Path | None, options: Options, timeline: Timeline | None) -> Engine:
    """See `engines.Build`."""
    # ruff: noqa: PLC0415 - importing these takes seconds and opens a device
    from easel_worker.sdxl.serving.compilation import cache_programs_in
    from easel_worker.sdxl.serving.engine import SdxlEngine

    if model is None:
        raise ValueError("the sdxl engine needs a model folder")
    if options.compile_cache is not None:
        cache_programs_in(options.compile_cache)
    return SdxlEngine(model, replace(options, compile_behind=True), timeline)
