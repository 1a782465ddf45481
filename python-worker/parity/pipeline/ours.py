"""Our engine on pipeline cases."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from easel_worker.engine import ImageSpec, Pixels
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from parity.pipeline.cases import PipelineCase

LIMIT = 1.0
"""The most that a pixel may differ from diffusers', in steps of its 8 bits."""


SHARE_LIMIT = 0.01
"""The most of all values that may differ."""


def engine_for(case: PipelineCase, folder: Path) -> SdxlEngine:
    """A warm engine in float32 for all cases of the same `engine`.

    Args:
        case: one of them.
        folder: the model's parts; the rest of the case's files is written to it.
    """
    case.complete(folder)
    engine = SdxlEngine(folder, Options(dtype="float32"))
    engine.warm(lambda _: None)
    return engine


def run(case: PipelineCase, engine: SdxlEngine) -> Pixels:
    """The image that our engine makes of a case, [H, W, 3]."""
    return make(engine, case.spec(), case.noise())


def make(engine: SdxlEngine, spec: ImageSpec, noise: NDArray[np.float32]) -> Pixels:
    """The image that our engine makes of noise [h, w, 4], [H, W, 3]."""
    lane = engine.start(spec, noise=noise)
    for _ in range(spec.steps):
        engine.step([lane])
    return engine.finish(lane)


def difference(ours: Pixels, theirs: Pixels) -> float:
    """The largest difference of a pixel."""
    return float(np.abs(ours.astype(int) - theirs.astype(int)).max())


def share_different(ours: Pixels, theirs: Pixels) -> float:
    """How many of the values differ at all: those that lay on the edge of rounding."""
    return float(np.mean(ours != theirs))
