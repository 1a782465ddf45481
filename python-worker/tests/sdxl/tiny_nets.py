"""Writes the smallest ControlNets and T2I-Adapters, for a tiny model of three levels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from easel_worker.sdxl.folder.config_reader import ConfigFile
from easel_worker.sdxl.folder.control_config import read_adapter_config, read_controlnet_config
from easel_worker.sdxl.folder.control_files import declare
from easel_worker.sdxl.model.params import declared
from parity import cases, synthetic

UNET = cases.unet((8, 16, 16), "DCC", [1, 2, 2], 16, **cases.added(4, 8))
"""T2I-Adapters for SDXL fit UNets of three levels only."""

CONTROLNET: dict[str, Any] = {
    **{key: value for key, value in UNET.items() if key not in ("sample_size", "up_block_types")},
    "_class_name": "ControlNetModel",
    "conditioning_embedding_out_channels": [4, 8],
}
WITHOUT_CONDITIONS: dict[str, Any] = CONTROLNET | {
    "addition_embed_type": None,
    "addition_time_embed_dim": None,
    "projection_class_embeddings_input_dim": None,
}
ADAPTER: dict[str, Any] = {
    "_class_name": "T2IAdapter",
    "adapter_type": "full_adapter_xl",
    "channels": [8, 16, 16, 16],
    "downscale_factor": 4,
    "in_channels": 3,
    "num_res_blocks": 1,
}


def tensors(name: str, config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the weights of a net, which its name determines."""
    adapter = config["_class_name"] == "T2IAdapter"
    read = read_adapter_config if adapter else read_controlnet_config
    tree = declare(read(ConfigFile(Path("config.json"), config)))
    return {
        param.name: np.ascontiguousarray(
            synthetic.weight(f"{name}.{param.name}", param.stored, gain=1.0)
        )
        for param in declared(tree)
    }


def write_net(folder: Path, name: str, config: dict[str, Any]) -> Path:
    """Write a net as a diffusers folder into the operator's folder; returns it."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    save(tensors(name, config), path)
    return path


def save(weights: dict[str, np.ndarray], path: Path) -> None:
    """Write the weights of a net's folder."""
    save_file(weights, path / "diffusion_pytorch_model.safetensors")


def write_nets(folder: Path) -> Path:
    """Write three ControlNets of two architectures and two T2I-Adapters."""
    for name in ("canny", "depth"):
        write_net(folder, name, CONTROLNET)
    write_net(folder, "plain", WITHOUT_CONDITIONS)
    write_net(folder, "sketch", ADAPTER)
    write_net(folder, "grey", ADAPTER | {"in_channels": 1})
    return folder
