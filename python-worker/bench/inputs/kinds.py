"""What both sides measure: images of the demo model with different inputs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from easel_worker.sdxl.folder.config_reader import ConfigFile
from easel_worker.sdxl.folder.config_unet import read_unet_config
from easel_worker.sdxl.model.ip_adapter import PlainShape
from parity.controls.cases import controlnet_of
from parity.controls.files import write_net
from parity.ip_adapters.files import AdapterFile, vision
from parity.loras.files import LINEARS, RANK, LoraFile, shapes_of

SIDE = 256
STEPS = 20
GUIDANCE = 5.0
STRENGTH = 0.999
"""The least that leaves a step out, so that all kinds run nearly as many."""

LORAS = (LoraFile("lora", "peft", layers=LINEARS), LoraFile("loha", form="loha", layers=LINEARS))
"""Of all linear layers of the UNet's transformers and of the text encoders."""


CONTROLNET, T2I_ADAPTER = "controlnet", "t2i-adapter"
"""The nets' names."""

_ENCODER = vision(256, 8, 4, image_size=224, patch_size=14, projection_dim=256)
IP_ADAPTER = AdapterFile("ip", PlainShape(tokens=4, features=256), _ENCODER)
"""Its encoder's pictures are as large as the usual ones; its layers are fewer and narrower."""

SCALE = 0.5


class Inputs(NamedTuple):
    """The inputs of an image. `net` is the name of the net that a picture controls it by."""

    lora: str | None = None
    picture: bool = False
    mask: bool = False
    net: str | None = None
    ip_adapter: bool = False


KINDS = {
    "text": Inputs(),
    f"a LoRA of rank {RANK}": Inputs(lora="lora"),
    "a LoHa": Inputs(lora="loha"),
    "a picture": Inputs(picture=True),
    "a picture and a mask": Inputs(picture=True, mask=True),
    "a ControlNet": Inputs(net=CONTROLNET),
    "a T2I-Adapter": Inputs(net=T2I_ADAPTER),
    "an IP-Adapter": Inputs(ip_adapter=True),
}


def picture() -> NDArray[np.uint8]:
    """A picture [H, W, 3]: a smooth gradient."""
    ramp = np.linspace(0, 255, SIDE).astype(np.uint8)
    across, down = np.meshgrid(ramp, ramp)
    return np.stack([across, down, 255 - across], axis=-1)


def mask() -> NDArray[np.uint8]:
    """A mask [H, W, 1] that repaints the middle."""
    made = np.zeros((SIDE, SIDE, 1), np.uint8)
    made[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4] = 255
    return made


class Folders(NamedTuple):
    """Where the files of LoRAs, nets and IP-Adapters are."""

    loras: Path
    nets: Path
    ip_adapters: Path


def folders(root: Path) -> Folders:
    """Return the folders in one."""
    return Folders(root / "loras", root / "nets", root / "ip-adapters")


def write_files(model: Path, root: Path) -> None:
    """Write all files for a model, with random values: they cost what trained ones do."""
    loras, nets, ip_adapters = folders(root)
    loras.mkdir(parents=True)
    shapes = shapes_of(model)
    for file in LORAS:
        file.write(loras, shapes)
    unet = json.loads((model / "unet/config.json").read_text())
    for name, config in _nets(unet).items():
        write_net(nets, name, config)
    IP_ADAPTER.write(ip_adapters, read_unet_config(ConfigFile(Path("unet/config.json"), unet)))


def _nets(unet: dict[str, Any]) -> dict[str, dict[str, Any]]:
    channels = unet["block_out_channels"]
    return {
        CONTROLNET: controlnet_of(unet)
        | {"conditioning_embedding_out_channels": [16, 32, 96, 256]},
        T2I_ADAPTER: adapter_of([*channels, channels[-1]]),
    }


def adapter_of(channels: Sequence[int]) -> dict[str, Any]:
    """Return the config.json of a T2I-Adapter that makes features of these channels."""
    return {
        "_class_name": "T2IAdapter",
        "adapter_type": "full_adapter_xl",
        "channels": list(channels),
        "downscale_factor": 16,
        "in_channels": 3,
        "num_res_blocks": 2,
    }
