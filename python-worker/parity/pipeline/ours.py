"""Runs our engine on pipeline cases."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray

from easel_worker.engine import ImageSpec, Picture, Pixels
from easel_worker.sdxl.serving.compilation import Compiler
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.lanes import SdxlLane
from easel_worker.sdxl.serving.options import Options
from easel_worker.values import Size
from parity.compile_once import CompileOnce
from parity.pipeline.cases import Hires, PipelineCase

LIMIT = 1.0
"""The largest difference of a value from diffusers', in 8-bit steps."""


SHARE_LIMIT = 0.01
"""The largest share of values that may differ."""


def engine_for(
    case: PipelineCase,
    folder: Path,
    *,
    chunks: int = 1,
    loras: Path | None = None,
    embeddings: Path | None = None,
    controlnets: Path | None = None,
    ip_adapters: Path | None = None,
    refiner: Path | None = None,
    compiler: Compiler | None = None,
) -> SdxlEngine:
    """Return a warm engine in float32 on one device, for all cases with the same `engine`.

    Args:
        case: any of these cases.
        folder: has the model's parts; this function adds the case's other files.
        chunks: how many chunks a prompt may have.
        loras: a folder of LoRAs.
        embeddings: a folder of embeddings.
        controlnets: a folder of ControlNets and T2I-Adapters.
        ip_adapters: a folder of IP-Adapters.
        refiner: the folder of a refiner.
        compiler: makes the programs; None for one that compiles those that are called.
    """
    case.complete(folder)
    options = Options(
        dtype="float32",
        devices=jax.devices()[:1],
        max_prompt_chunks=chunks,
        loras=loras,
        image_inputs=case.strength is not None or case.inpainting,
        embeddings=embeddings,
        controlnets=controlnets,
        ip_adapters=ip_adapters,
        refiner=refiner,
        sizes=None if case.hires is None else [Size(*case.first_pass.pixels)],
    )
    engine = SdxlEngine(folder, options, compiler=compiler or CompileOnce())
    engine.warm(lambda _: None)
    return engine


def run(case: PipelineCase, engine: SdxlEngine) -> Pixels:
    """Return our engine's image of a case, [H, W, 3]."""
    if case.hires is not None:
        return _two_passes(case, case.hires, engine)
    return make(engine, case.spec(), case.noise(), case.posterior())


def make(
    engine: SdxlEngine,
    spec: ImageSpec,
    noise: NDArray[np.float32],
    posterior: NDArray[np.float32] | None = None,
) -> Pixels:
    """Return our engine's image from noise [h, w, 4], as [H, W, 3].

    `posterior` is the noise of its picture's latents.
    """
    return engine.finish(_run(engine, spec, noise, posterior))


def _two_passes(case: PipelineCase, hires: Hires, engine: SdxlEngine) -> Pixels:
    first = case.first_pass
    wanted = replace(first.spec(), output_type="latent")
    latents = engine.latents(_run(engine, wanted, first.noise(), None))
    begun = Picture("latents", latents.astype("<f4").view(np.uint8))
    spec = replace(case.spec(), latents=begun, latents_upscaler=hires.upscaler)
    return make(engine, spec, case.noise())


def _run(
    engine: SdxlEngine,
    spec: ImageSpec,
    noise: NDArray[np.float32],
    posterior: NDArray[np.float32] | None,
) -> SdxlLane:
    lane = engine.start(spec, noise=noise, posterior=posterior)
    while lane.step < spec.steps:
        engine.step([lane])
    return lane


def difference(ours: Pixels, theirs: Pixels) -> float:
    """Return the largest difference of any value."""
    return float(np.abs(ours.astype(int) - theirs.astype(int)).max())


def share_different(ours: Pixels, theirs: Pixels) -> float:
    """Return the share of values that differ at all, e.g. because they round the other way."""
    return float(np.mean(ours != theirs))
