"""Writes the smallest ControlNets and T2I-Adapters, for a tiny model of three levels."""

from pathlib import Path
from typing import Any

from parity import cases
from parity.controls.files import write_net

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


def write_nets(folder: Path) -> Path:
    """Write three ControlNets of two architectures and two T2I-Adapters."""
    for name in ("canny", "depth"):
        write_net(folder, name, CONTROLNET)
    write_net(folder, "plain", WITHOUT_CONDITIONS)
    write_net(folder, "sketch", ADAPTER)
    write_net(folder, "grey", ADAPTER | {"in_channels": 1})
    return folder
