"""Builds the engine from its options. Imports jax only when it is called."""

from pathlib import Path

from easel_worker.engine import Engine
from easel_worker.maxdiffusion.options import Options
from easel_worker.sdxl.serving.build import build_with
from easel_worker.timeline import Timeline


def build(model: Path | None, options: Options, timeline: Timeline | None) -> Engine:
    """See `engines.Build`."""
    # ruff: noqa: PLC0415 - importing these takes seconds and opens a device
    from easel_worker.maxdiffusion.start import other_unet

    if model is None:
        raise ValueError("the maxdiffusion engine needs a model folder")
    return build_with(model, options, timeline, other_unet(model, options))
