"""Runs diffusers' pipelines with ControlNets and T2I-Adapters. Needs torch."""

import functools
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionXLAdapterPipeline,
    StableDiffusionXLControlNetImg2ImgPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    StableDiffusionXLControlNetPipeline,
    T2IAdapter,
)
from diffusers.models import MultiAdapter
from diffusers.pipelines.t2i_adapter.pipeline_stable_diffusion_xl_adapter import (
    _preprocess_adapter_image,
)
from numpy.typing import NDArray
from PIL import Image

from parity.controls import files
from parity.controls.cases import NETS, ControlCase, NetUse
from parity.pipeline import reference as pipeline
from parity.reference import Model, fill

Nets = Mapping[str, Any]


def build(configs: Mapping[str, files.Config] = NETS) -> dict[str, Any]:
    """Build nets, initialised as their classes do."""
    return {name: build_net(config).eval() for name, config in configs.items()}


def build_net(config: files.Config) -> Any:
    """Build a net of a config.json."""
    kinds = {"ControlNetModel": ControlNetModel, "T2IAdapter": T2IAdapter}
    own = {name: value for name, value in config.items() if name != "_class_name"}
    return kinds[config["_class_name"]](**own)


def fill_synthetic(nets: Nets) -> None:
    """Give all nets the weights that their names determine."""
    for name, net in nets.items():
        fill(net, lambda key, shape, net=name: files.values(net, [(key, shape)])[key])


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
    """Return diffusers' image, [H, W, 3].

    Raises:
        RuntimeError: diffusers' own pipeline for T2I-Adapters makes another image than `features`.
    """
    made, given = pipeline_of(case, models, nets)
    with features(case, nets, made.unet):
        image = pipeline.call(case.image, made, **given)
    from_text = case.image.strength is None and not case.image.inpainting
    if from_text and all(use.adapter for use in case.nets):
        theirs = _adapted(case, models, nets)
        if not np.array_equal(image, theirs):
            raise RuntimeError(f"{case.name}: features are not added as diffusers adds them")
    return image


def pipeline_of(
    case: ControlCase, models: Mapping[str, Model], nets: Nets
) -> tuple[Any, dict[str, Any]]:
    """Return diffusers' pipeline with an image's ControlNets, and its arguments for them."""
    image = case.image
    used = [(use, picture) for use, picture in _pictures(case) if not use.adapter]
    if not used:
        return pipeline.pipeline_of(image, models), {}
    kind: Any = StableDiffusionXLControlNetImg2ImgPipeline
    if image.masked or image.inpainting:
        kind = StableDiffusionXLControlNetInpaintPipeline
    elif image.strength is None:
        kind = StableDiffusionXLControlNetPipeline
    from_text = kind is StableDiffusionXLControlNetPipeline
    given: dict[str, list[Any]] = {
        "image" if from_text else "control_image": [picture for _, picture in used],
        "controlnet_conditioning_scale": [use.scale for use, _ in used],
        "control_guidance_start": [use.start for use, _ in used],
        "control_guidance_end": [use.end for use, _ in used],
    }
    net: Any = [nets[use.name] for use, _ in used]
    if len(used) == 1:
        [net] = net
        return pipeline.pipeline_of(image, models, kind, controlnet=net), {
            name: one for name, [one] in given.items()
        }
    return pipeline.pipeline_of(image, models, kind, controlnet=net), given


@contextmanager
def features(case: ControlCase, nets: Nets, unet: Any) -> Iterator[None]:
    """Add the features of an image's T2I-Adapters to a UNet, as diffusers' pipeline for them does.

    diffusers has a pipeline with them for images from text only, and none with ControlNets too.
    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/t2i_adapter/pipeline_stable_diffusion_xl_adapter.py#L1241
    """
    width, height = case.image.pixels
    states = []
    for use, picture in _pictures(case):
        if use.adapter:
            net = nets[use.name]
            seen = net(_preprocess_adapter_image(_read_by(net, picture), height, width))
            states.append((use, [each * use.scale for each in seen]))
    steps, calls, forward = case.image.spec().steps, itertools.count(), unet.forward

    def adapted(sample: Any, *args: Any, **more: Any) -> Any:
        step = next(calls)
        now = [state for use, state in states if step < int(steps * use.end)]
        if now:
            added = [functools.reduce(torch.add, each) for each in zip(*now, strict=True)]
            more["down_intrablock_additional_residuals"] = [
                each.repeat(len(sample), 1, 1, 1) for each in added
            ]
        return forward(sample, *args, **more)

    with torch.no_grad(), mock.patch.object(unet, "forward", adapted):
        yield


def _adapted(case: ControlCase, models: Mapping[str, Model], nets: Nets) -> NDArray[np.uint8]:
    """Return the image of diffusers' pipeline for T2I-Adapters."""
    used = [(nets[use.name], use.scale, picture) for use, picture in _pictures(case)]
    adapter, scale, picture = (list(each) for each in zip(*used, strict=True))
    picture = [_read_by(*each) for each in zip(adapter, picture, strict=True)]
    one = len(used) == 1
    made = pipeline.pipeline_of(
        case.image,
        models,
        _without_watermark,
        adapter=adapter[0] if one else MultiAdapter(adapter),
    )
    return pipeline.call(
        case.image,
        made,
        image=picture[0] if one else picture,
        adapter_conditioning_scale=scale[0] if one else scale,
        adapter_conditioning_factor=case.nets[0].end,
    )


def _pictures(case: ControlCase) -> list[tuple[NetUse, Image.Image]]:
    return [
        (use, Image.fromarray(picture))
        for use, picture in zip(case.nets, case.pictures(), strict=True)
    ]


def _read_by(adapter: Any, picture: Image.Image) -> Image.Image:
    """A picture in the colours that a T2I-Adapter reads."""
    return picture.convert("L") if adapter.config.in_channels == 1 else picture


def _without_watermark(*, add_watermarker: bool, **parts: Any) -> Any:
    """The pipeline of adapters, which has no such argument."""
    return StableDiffusionXLAdapterPipeline(**parts)
