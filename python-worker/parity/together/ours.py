"""Runs our engine with LoRAs, nets and IP-Adapters. No torch."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from easel_worker.engine import Pixels
from easel_worker.sdxl.folder.config_reader import ConfigFile
from easel_worker.sdxl.folder.control_config import read_controlnet_config
from easel_worker.sdxl.model.controlnet import ControlNet
from easel_worker.sdxl.model.params import declared
from easel_worker.sdxl.serving.compilation import Compiler
from easel_worker.sdxl.serving.engine import SdxlEngine
from parity import cases, synthetic
from parity.ip_adapters.files import FILES, unet_of
from parity.pipeline import ours as pipeline
from parity.together.cases import LORA, TogetherCase, nets_of

Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]


def net_tensors(name: str, config: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Return the weights of a net, which its name determines."""
    tree = ControlNet.declare(read_controlnet_config(ConfigFile(Path("config.json"), config)))
    return {
        param.name: np.ascontiguousarray(
            synthetic.weight(f"{name}.{param.name}", param.stored, gain=1.0)
        )
        for param in declared(tree)
    }


def write_files(folder: Path, model: cases.Case, shapes: Shapes) -> None:
    """Write the operator's folders for a model: `nets`, `adapters` and `loras`.

    Args:
        folder: an empty folder.
        model: the model.
        shapes: of its tensors, by component.
    """
    for name, config in nets_of(model).items():
        (folder / "nets" / name).mkdir(parents=True)
        (folder / "nets" / name / "config.json").write_text(json.dumps(config))
        weights = folder / "nets" / name / "diffusion_pytorch_model.safetensors"
        save_file(net_tensors(name, config), weights)
    for file in FILES:
        file.write(folder / "adapters", unet_of(model))
    (folder / "loras").mkdir()
    LORA.write(folder / "loras", {"text_encoder": {}, **shapes})


def engine_for(
    case: TogetherCase, model: Path, files: Path, *, compiler: Compiler | None = None
) -> SdxlEngine:
    """Return a warm engine for all cases of a case's model.

    Args:
        case: any of these cases.
        model: a folder with the model's parts.
        files: of `write_files`.
        compiler: see `pipeline.ours.engine_for`.
    """
    with_pictures = replace(case.image, strength=case.image.strength or 1.0)
    return pipeline.engine_for(
        with_pictures,
        model,
        controlnets=files / "nets",
        ip_adapters=files / "adapters",
        loras=files / "loras",
        compiler=compiler,
    )


def run(case: TogetherCase, engine: SdxlEngine) -> Pixels:
    """Return our engine's image of a case, [H, W, 3]."""
    image = case.image
    posterior = None if image.strength is None else image.posterior()
    if image.inpainting:
        posterior = image.posterior()
    return pipeline.make(engine, case.spec(engine), image.noise(), posterior)
