"""Writes diffusers' outputs in float32: `python -m parity.fullsize.theirs MODEL OUT.npz`.

Needs torch and about 11 GB of memory: the UNet alone is 10.3 GB in float32.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from numpy.typing import NDArray

from parity.fullsize.checkpoint import CONFIGS
from parity.fullsize.inputs import inputs

FULL = {"variant": "fp16", "torch_dtype": torch.float32}


@torch.inference_mode()
def run_unet(model: Path) -> NDArray[Any]:
    """Return the UNet's prediction [1, 4, h, w]."""
    given = {name: torch.from_numpy(value) for name, value in inputs().items()}
    unet = _read(UNet2DConditionModel, model, "unet")
    added = {"text_embeds": given["pooled"], "time_ids": given["time_ids"]}
    output = unet(given["sample"], given["timestep"], given["context"], added_cond_kwargs=added)
    return output.sample.numpy()


@torch.inference_mode()
def run_vae(model: Path) -> NDArray[Any]:
    """Return the decoded image [1, 3, 8 h, 8 w]."""
    vae = _read(AutoencoderKL, model, "vae")
    return vae.decode(torch.from_numpy(inputs()["latents"])).sample.numpy()


def _read(kind: Any, model: Path, part: str) -> Any:
    """Read a part of a diffusers folder, or of the single file in a folder."""
    file = next(model.glob("*.safetensors"), None)
    if file is None:
        return kind.from_pretrained(model / part, **FULL)
    return kind.from_single_file(
        str(file),
        config=str(CONFIGS),
        subfolder=part,
        torch_dtype=torch.float32,
        local_files_only=True,
    )


def main() -> None:
    """Run both in turn and write their outputs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    outputs = {"unet": run_unet(arguments.model), "vae": run_vae(arguments.model)}
    np.savez(arguments.out, **outputs)


if __name__ == "__main__":
    main()
