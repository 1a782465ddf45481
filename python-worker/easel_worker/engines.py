"""Which engine a configuration asks for: the one place that knows them all.

The real engine is imported only when it is asked for, so that the fake one needs no jax.
"""

import dataclasses

from easel_worker.config import Config
from easel_worker.engine import Engine
from easel_worker.fake.engine import FakeEngine, FakeSettings
from easel_worker.timeline import Timeline


def build(config: Config, timeline: Timeline | None = None) -> Engine:
    """An engine that still has to `warm`, and tells the time line what that takes."""
    return _fake(config) if config.engine == "fake" else _sdxl(config, timeline)


def _fake(config: Config) -> Engine:
    settings = FakeSettings(
        step_ms=config.fake_step_ms,
        step_times=dict(config.fake_step_times),
        encode_ms=config.fake_encode_ms,
        decode_ms=config.fake_decode_ms,
        warm_ms=config.fake_warm_ms,
        faults=config.fake_faults,
        model=config.model,
        max_cache_interval=config.max_cache_interval,
    )
    if config.rows is not None:
        settings = dataclasses.replace(settings, rows=config.rows)
    if config.sizes is not None:
        settings = dataclasses.replace(settings, sizes=config.sizes)
    return FakeEngine(settings)


def _sdxl(config: Config, timeline: Timeline | None) -> Engine:
    # ruff: noqa: PLC0415 - importing these takes seconds and a device
    from easel_worker.sdxl.compilation import cache_programs_in
    from easel_worker.sdxl.engine import SdxlEngine
    from easel_worker.sdxl.options import Options

    if config.model is None:
        raise ValueError("the sdxl engine needs a model folder")
    if config.compile_cache is not None:
        cache_programs_in(config.compile_cache)
    chosen = Options(
        dtype=config.dtype,
        vae_dtype=config.vae_dtype,
        vae_tile=config.vae_tile,
        quantization=config.quantization,
        calibration=config.calibration,
        sizes=config.sizes,
        rows=config.rows,
        batch_lanes=config.batch_lanes,
        split_guidance=config.split_guidance,
        methods=config.methods,
        max_cache_interval=config.max_cache_interval,
        artifacts=config.artifacts,
        compile_behind=True,
    )
    return SdxlEngine(config.model, chosen, timeline)
