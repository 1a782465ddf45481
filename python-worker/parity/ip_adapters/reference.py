"""Runs diffusers' pipeline with IP-Adapters that it loads itself. Needs torch."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from parity.ip_adapters.cases import IpAdapterCase
from parity.ip_adapters.files import AdapterFile
from parity.ip_adapters.ours import Parts
from parity.pipeline import reference as pipelines
from parity.pipeline.cases import PipelineCase


def loaded(case: PipelineCase, models: Mapping[str, Any], file: AdapterFile, folder: Path) -> Any:
    """Return diffusers' pipeline with an adapter of a folder of adapters."""
    pipeline = pipelines.pipeline_of(case, copy.deepcopy(dict(models)))
    _load(pipeline, file, folder)
    return pipeline


def _load(pipeline: Any, file: AdapterFile, folder: Path) -> None:
    name, encoder = file.file, "image_encoder"
    pipeline.load_ip_adapter(
        str(folder), subfolder=file.name, weight_name=name, image_encoder_folder=encoder
    )


@torch.no_grad()
def parts(pipeline: Any, picture: NDArray[np.uint8]) -> Parts:
    """Return what diffusers' adapter makes of a picture."""
    image = Image.fromarray(picture)
    pixels = pipeline.feature_extractor(image, return_tensors="pt").pixel_values
    seen = pipeline.image_encoder(pixels, output_hidden_states=True)
    both = pipeline.prepare_ip_adapter_image_embeds([image], None, "cpu", 1, True)
    [tokens] = pipeline.unet.encoder_hid_proj(both)
    return Parts(
        pixels[0].permute(1, 2, 0).numpy(),
        seen.hidden_states[-2][0].numpy(),
        seen.image_embeds[0].numpy(),
        tokens[:, 0].numpy(),
    )


def run(case: IpAdapterCase, models: Mapping[str, Any], folder: Path) -> NDArray[np.uint8]:
    """Return diffusers' image, [H, W, 3]."""
    pipeline = loaded(case.image, models, case.file, folder)
    pipeline.set_ip_adapter_scale(case.scale)
    return pipelines.call(case.image, pipeline, ip_adapter_image=Image.fromarray(case.picture()))
