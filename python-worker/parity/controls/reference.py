"""Runs diffusers' pipelines with ControlNets and T2I-Adapters. Needs torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import (
    ControlNetModel,
    StableDiffusionXLAdapterPipeline,
    StableDiffusionXLControlNetImg2ImgPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    StableDiffusionXLControlNetPipeline,
    T2IAdapter,
)
from diffusers.models import MultiAdapter
from numpy.typing import NDArray
from PIL import Image

from parity import synthetic
from parity.controls.cases import NETS, ControlCase
from parity.pipeline import reference as pipeline
from parity.reference import Model, fill

Nets = Mapping[str, Any]


def build() -> dict[str, Any]:
    """Build all nets, initialised as their classes do."""
    return {name: build_net(config).eval() for name, config in NETS.items()}


def build_net(config: dict[str, Any]) -> Any:
    """Build a net of a config.json."""
    config = dict(config)
    kind = {"ControlNetModel": ControlNetModel, "T2IAdapter": T2IAdapter}[config.pop("_class_name")]
    return kind(**config)


def fill_synthetic(nets: Nets) -> None:
    """Give all nets the weights that their names determine."""
    for name, net in nets.items():
        fill(net, lambda key, shape, net=name: synthetic.weight(f"{net}.{key}", shape, gain=1.0))


def shapes(nets: Nets) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the name and shape of every tensor of each net."""
    return {
        name: {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
        for name, net in nets.items()
    }


def save(nets: Nets, folder: Path) -> None:
    """Write the nets as the operator's folder."""
    for name, net in nets.items():
        net.save_pretrained(folder / name)


def run(case: ControlCase, models: Mapping[str, Model], nets: Nets) -> NDArray[np.uint8]:
    """Return diffusers' image, [H, W, 3]."""
    image, used = case.image, [nets[use.name] for use in case.nets]
    if case.nets[0].adapter:
        return _adapted(case, models, used, _pictures(case))
    kind, given = followed(case)
    made = pipeline.pipeline_of(image, models, kind, controlnet=used[0] if len(used) == 1 else used)
    return pipeline.call(image, made, **given)


def followed(case: ControlCase) -> tuple[Any, dict[str, Any]]:
    """Return the class of pipeline for an image that follows ControlNets, and its arguments."""
    image = case.image
    kind: Any = StableDiffusionXLControlNetImg2ImgPipeline
    if image.masked or image.inpainting:
        kind = StableDiffusionXLControlNetInpaintPipeline
    elif image.strength is None:
        kind = StableDiffusionXLControlNetPipeline
    given: dict[str, list[Any]] = {
        "image" if kind is StableDiffusionXLControlNetPipeline else "control_image": _pictures(
            case
        ),
        "controlnet_conditioning_scale": [use.scale for use in case.nets],
        "control_guidance_start": [use.start for use in case.nets],
        "control_guidance_end": [use.end for use in case.nets],
    }
    if len(case.nets) == 1:
        return kind, {name: one for name, [one] in given.items()}
    return kind, given


def _pictures(case: ControlCase) -> list[Image.Image]:
    return [Image.fromarray(picture) for picture in case.pictures()]


def _adapted(
    case: ControlCase, models: Mapping[str, Model], used: list[Any], pictures: list[Image.Image]
) -> NDArray[np.uint8]:
    image = case.image
    pictures = [
        picture.convert("L") if net.adapter.conv_in.in_channels == 16**2 else picture
        for net, picture in zip(used, pictures, strict=True)
    ]
    one = len(used) == 1
    made = pipeline.pipeline_of(
        image,
        models,
        _without_watermark,
        adapter=used[0] if one else MultiAdapter(used),
    )
    scales = [use.scale for use in case.nets]
    return pipeline.call(
        image,
        made,
        image=pictures[0] if one else pictures,
        adapter_conditioning_scale=scales[0] if one else scales,
        adapter_conditioning_factor=case.nets[0].end,
    )


def _without_watermark(*, add_watermarker: bool, **parts: Any) -> Any:
    """The pipeline of adapters, which has no such argument."""
    return StableDiffusionXLAdapterPipeline(**parts)
