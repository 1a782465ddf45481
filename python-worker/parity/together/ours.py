"""Runs our engine with LoRAs, nets and IP-Adapters. No torch."""

from dataclasses import replace
from pathlib import Path

from easel_worker.engine import Pixels
from easel_worker.sdxl.serving.compilation import Compiler
from easel_worker.sdxl.serving.engine import SdxlEngine
from parity import cases
from parity.controls.files import write_net
from parity.ensembles.cases import EnsembleCase
from parity.ip_adapters.files import FILES, unet_of
from parity.loras.files import Shapes
from parity.pipeline import ours as pipeline
from parity.together.cases import LORA, TogetherCase, nets_of


def write_files(folder: Path, model: cases.Case, shapes: Shapes) -> None:
    """Write the operator's folders for a model: `nets`, `adapters` and `loras`.

    Args:
        folder: a new folder.
        model: the model.
        shapes: of its tensors, by component.
    """
    for name, config in nets_of(model).items():
        write_net(folder / "nets", name, config)
    for file in FILES:
        file.write(folder / "adapters", unet_of(model))
    (folder / "loras").mkdir()
    LORA.write(folder / "loras", {"text_encoder": {}, **shapes})


def engine_for(
    case: TogetherCase,
    model: Path,
    files: Path,
    refiner: Path,
    *,
    compiler: Compiler | None = None,
) -> SdxlEngine:
    """Return a warm engine for all cases of a case's model.

    Args:
        case: any of these cases.
        model: a folder with the model's parts.
        files: of `write_files`.
        refiner: a folder with the parts of `REFINER`, for the model that it can finish images of.
        compiler: see `pipeline.ours.engine_for`.
    """
    with_pictures = replace(case.image, strength=case.image.strength or 1.0)
    finished = case.image.model is cases.SDXL_BASE_IN_SMALL
    if finished:
        EnsembleCase(case.image, 0.5).refined.complete(refiner)
    return pipeline.engine_for(
        with_pictures,
        model,
        controlnets=files / "nets",
        ip_adapters=files / "adapters",
        loras=files / "loras",
        refiner=refiner if finished else None,
        compiler=compiler,
    )


def run(case: TogetherCase, engine: SdxlEngine) -> Pixels:
    """Return our engine's image of a case, [H, W, 3]."""
    image = case.image
    posterior = None if image.strength is None else image.posterior()
    if image.inpainting:
        posterior = image.posterior()
    return pipeline.make(engine, case.spec(engine), image.noise(), posterior)
