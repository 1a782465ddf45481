"""What both sides measure: images of the demo model with different inputs."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parity.loras.files import LINEARS, RANK, LoraFile, Shapes

SIDE = 256
STEPS = 20
GUIDANCE = 5.0
STRENGTH = 0.999
"""The least that leaves a step out, so that all kinds run nearly as many."""

LORAS = (LoraFile("lora", "peft", layers=LINEARS), LoraFile("loha", form="loha", layers=LINEARS))
"""Of all linear layers of the UNet's transformers and of the text encoders."""


class Inputs(NamedTuple):
    """The inputs of an image."""

    lora: str | None = None
    picture: bool = False
    mask: bool = False


KINDS = {
    "text": Inputs(),
    f"a LoRA of rank {RANK}": Inputs(lora="lora"),
    "a LoHa": Inputs(lora="loha"),
    "a picture": Inputs(picture=True),
    "a picture and a mask": Inputs(picture=True, mask=True),
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


def write_loras(folder: Path, shapes: Shapes) -> None:
    """Write the LoRAs into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in LORAS:
        file.write(folder, shapes)
