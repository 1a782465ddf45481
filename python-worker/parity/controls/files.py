"""Writes ControlNets and T2I-Adapters as diffusers saves them. No torch: names determine values."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from easel_worker.sdxl.folder.config_reader import ConfigFile
from easel_worker.sdxl.folder.control_config import read_adapter_config, read_controlnet_config
from easel_worker.sdxl.folder.control_files import declare
from easel_worker.sdxl.model.params import declared
from parity import synthetic

Config = Mapping[str, Any]
Tensors = dict[str, NDArray[np.float32]]


def is_adapter(config: Config) -> bool:
    """Whether a config.json is that of a T2I-Adapter."""
    return bool(config["_class_name"] == "T2IAdapter")


def values(name: str, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> Tensors:
    """Return tensors of these names and shapes, whose values the net's name determines too."""
    return {
        key: np.ascontiguousarray(synthetic.weight(f"{name}.{key}", shape, gain=1.0))
        for key, shape in shapes
    }


def tensors(name: str, config: Config) -> Tensors:
    """Return the weights of a net of this config.json."""
    read = read_adapter_config if is_adapter(config) else read_controlnet_config
    tree = declare(read(ConfigFile(Path("config.json"), dict(config))))
    return values(name, ((param.name, param.stored) for param in declared(tree)))


def write_net(folder: Path, name: str, config: Config, weights: Tensors | None = None) -> Path:
    """Write a net as a diffusers folder into the operator's folder; returns it.

    `weights` are its tensors; None for those of `tensors`.
    """
    path = folder / name
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    save(tensors(name, config) if weights is None else weights, path)
    return path


def save(weights: Tensors, path: Path) -> None:
    """Write the weights of a net's folder."""
    save_file(weights, path / "diffusion_pytorch_model.safetensors")
