"""Runs our engine with the operator's nets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from easel_worker.engine import Pixels
from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.checkpoint import open_tensors
from easel_worker.sdxl.folder.control_files import find_controls
from easel_worker.sdxl.serving.compilation import Compiler
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.values import Size
from parity import cases
from parity.controls import files
from parity.controls.cases import NETS, ControlCase
from parity.ip_adapters.files import unet_of
from parity.pipeline import ours as pipeline

Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]


def write_nets(folder: Path, shapes: Shapes) -> None:
    """Write the operator's folder, with the weights that names determine."""
    for name, own in shapes.items():
        files.write_net(folder, name, NETS[name], files.values(name, own.items()))


def read_file(file: Path, model: cases.Case) -> dict[str, NDArray[Any]]:
    """Return the tensors of a net's file as the worker reads them, in diffusers' layout."""

    def refuse(line: str) -> None:
        raise ValueError(line)

    unet, sizes = unet_of(model), [Size(64, 64)]
    nets = find_controls(file.parent, unet, 8, sizes, refuse)
    (net,) = (net for net in nets if net.weights.path == file)
    with open_tensors(file) as tensors:
        stored = weights.match(net.weights, net.tree, tensors)
        return {name: tensor.read() for name, tensor in stored.items()}


def engine_for(
    case: ControlCase, folder: Path, nets: Path, *, compiler: Compiler | None = None
) -> SdxlEngine:
    """Return a warm engine for all cases whose images have one `engine`."""
    return pipeline.engine_for(case.image, folder, controlnets=nets, compiler=compiler)


def run(case: ControlCase, engine: SdxlEngine) -> Pixels:
    """Return our engine's image of a case, [H, W, 3]."""
    spec = case.spec(engine.capabilities.controls)
    return pipeline.make(engine, spec, case.image.noise(), case.image.posterior())
