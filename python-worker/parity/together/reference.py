"""Runs diffusers' pipelines with LoRAs, ControlNets and IP-Adapters. Needs torch."""

import copy
import io
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel
from numpy.typing import NDArray
from PIL import Image

from parity import cases
from parity.controls import reference as controls
from parity.pipeline import reference as pipelines
from parity.reference import Model, fill
from parity.together import ours
from parity.together.cases import LORA, TogetherCase, nets_of


def nets(model: cases.Case) -> dict[str, Any]:
    """Build the nets of a model, with the weights that their names determine."""
    made = {}
    for name, config in nets_of(model).items():
        values = ours.net_tensors(name, config)
        given = {key: value for key, value in config.items() if key != "_class_name"}
        made[name] = ControlNetModel(**given).eval()
        fill(made[name], lambda key, _, values=values: values[key])
    return made


@torch.no_grad()
def run(case: TogetherCase, models: Mapping[str, Model], files: Path) -> NDArray[np.uint8]:
    """Return diffusers' image, [H, W, 3].

    Args:
        case: what to make.
        models: the pipeline's models; they stay as they are.
        files: of `ours.write_files`.
    """
    image, own = case.image, copy.deepcopy(dict(models))
    given: dict[str, Any] = {}
    if case.nets:
        built = nets(image.model)
        used = [built[use.name] for use in case.nets]
        kind, given = controls.followed(case.control)
        one = len(used) == 1
        pipeline = pipelines.pipeline_of(image, own, kind, controlnet=used[0] if one else used)
    else:
        pipeline = pipelines.pipeline_of(image, own)
    if case.lora is not None:
        # Loading reports each parameter of the LoRA itself as missing.
        with redirect_stderr(io.StringIO()):
            pipeline.load_lora_weights(
                str(files / "loras"), weight_name=f"{LORA.name}.safetensors", adapter_name="lora"
            )
        pipeline.set_adapters(["lora"], [case.lora])
    if case.adapter is not None:
        file, scale = case.adapter
        pipeline.load_ip_adapter(
            str(files / "adapters"),
            subfolder=file.name,
            weight_name=file.file,
            image_encoder_folder="image_encoder",
        )
        pipeline.set_ip_adapter_scale(scale)
        given["ip_adapter_image"] = Image.fromarray(case.reference_picture)
    if image.refiner and case.nets:
        # Its default is a torch.Size, to which this pipeline cannot add a score.
        width, height = image.pixels
        given["original_size"] = (height, width)
    return pipelines.call(image, pipeline, **given)
