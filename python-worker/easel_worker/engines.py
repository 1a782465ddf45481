"""Which engine a configuration asks for: the one place that knows them all.

The real engine is imported only when it is asked for, so that the fake one needs no jax.
"""

import dataclasses

from easel_worker.config import Config
from easel_worker.engine import Engine
from easel_worker.fake_engine import FakeEngine, FakeSettings


def build(config: Config) -> Engine:
    """An engine that still has to `warm`."""
    return _fake(config) if config.engine == "fake" else _sdxl(config)


def _fake(config: Config) -> Engine:
    settings = FakeSettings(
        step_ms=config.fake_step_ms,
        encode_ms=config.fake_encode_ms,
        decode_ms=config.fake_decode_ms,
        warm_ms=config.fake_warm_ms,
        rows=config.rows,
        faults=config.fake_faults,
        model=config.model,
    )
    if config.sizes is not None:
        settings = dataclasses.replace(settings, sizes=config.sizes)
    return FakeEngine(settings)


def _sdxl(config: Config) -> Engine:
    from easel_worker.sdxl.engine import SdxlEngine  # noqa: PLC0415 - needs jax

    assert config.model is not None  # Config has checked it
    return SdxlEngine(config.model, dtype=config.dtype, sizes=config.sizes, rows=config.rows)
