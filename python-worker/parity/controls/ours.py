"""Runs our engine with the operator's nets."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from easel_worker.engine import Pixels
from easel_worker.sdxl.serving.compilation import Compiler
from easel_worker.sdxl.serving.engine import SdxlEngine
from parity import synthetic
from parity.controls.cases import NETS, ControlCase
from parity.pipeline import ours as pipeline

Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]


def write_nets(folder: Path, shapes: Shapes) -> None:
    """Write the operator's folder, with the weights that names determine."""
    for name, tensors in shapes.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(NETS[name]))
        values = {
            key: np.ascontiguousarray(synthetic.weight(f"{name}.{key}", shape, gain=1.0))
            for key, shape in tensors.items()
        }
        save_file(values, folder / name / "diffusion_pytorch_model.safetensors")


def engine_for(
    case: ControlCase, folder: Path, nets: Path, *, compiler: Compiler | None = None
) -> SdxlEngine:
    """Return a warm engine for all cases whose images have one `engine`."""
    return pipeline.engine_for(case.image, folder, controlnets=nets, compiler=compiler)


def run(case: ControlCase, engine: SdxlEngine) -> Pixels:
    """Return our engine's image of a case, [H, W, 3]."""
    spec = case.spec(engine.capabilities.controls)
    return pipeline.make(engine, spec, case.image.noise(), case.image.posterior())
