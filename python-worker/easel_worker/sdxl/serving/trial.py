"""Checks that a loaded and compiled model computes finite numbers, with an image of one step."""

from dataclasses import replace
from typing import Any

import numpy as np

from easel_worker.engine import (
    Control,
    ControlUse,
    ImageSpec,
    IpAdapter,
    IpAdapterUse,
    NotFinite,
    Picture,
    Tokens,
)
from easel_worker.sdxl.samplers import sampler
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.describe import Description
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.runner import Runner
from easel_worker.values import Size

_HINTS = {
    "text_encoder": "--dtype float32 (DTYPE)",
    "denoise": "--dtype float32 (DTYPE)",
    "decode": "--vae-dtype float32 (VAE_DTYPE)",
}


class BrokenModelError(ValueError):
    """A model's numbers are not finite. The text names the part of the model and what to do."""


def try_size(
    runner: Runner, about: Description, options: Options, size: Size, *, chunks: int = 1
) -> None:
    """Make an image of an empty prompt and check that its numbers are finite.

    Args:
        runner: the model; the programs of the size and of the chunks are compiled.
        about: the model's description.
        options: the operator's options.
        size: the image's size.
        chunks: how many chunks the prompt has.

    Raises:
        BrokenModelError: the numbers are not finite.
    """
    _try(runner, about, options, _spec(about, size, chunks))


def try_picture(runner: Runner, about: Description, options: Options, size: Size) -> None:
    """The same with an image that begins from a grey picture and keeps it, in one step of two."""
    grey = np.full((size.height, size.width, 3), 127, np.uint8)
    image, mask = Picture("", grey), Picture("", np.zeros_like(grey[..., :1]))
    spec = replace(_spec(about, size, chunks=1), image=image, mask=mask, schedule_steps=2)
    _try(runner, about, options, spec)


def try_control(
    runner: Runner, about: Description, options: Options, size: Size, control: Control
) -> None:
    """The same with an image that follows a grey picture by a ControlNet or T2I-Adapter.

    Raises:
        BrokenModelError: the numbers are not finite; those of the model alone are.
    """
    grey = Picture("", np.full((size.height, size.width, 3), 127, np.uint8))
    use = ControlUse(control.name, control.digest, 1.0)
    spec = replace(_spec(about, size, chunks=1), controls=(use,), control_pictures=(grey,))
    _try_with_picture(runner, about, options, spec)


def try_ip_adapter(
    runner: Runner, about: Description, options: Options, size: Size, adapter: IpAdapter
) -> None:
    """The same with an image that has a grey picture as a prompt. See `try_control`."""
    grey = Picture("", np.full((64, 64, 3), 127, np.uint8))
    use = IpAdapterUse(adapter.name, adapter.digest, 1.0)
    spec = replace(_spec(about, size, chunks=1), ip_adapters=(use,), ip_adapter_pictures=(grey,))
    _try_with_picture(runner, about, options, spec)


def try_refined(runner: Runner, about: Description, options: Options, size: Size) -> None:
    """The same with an image of which the refiner does a part. See `try_control`."""
    spec = replace(_spec(about, size, chunks=1), steps=4, denoising_end=0.5)
    try:
        _try(runner, about, options, spec)
    except BrokenModelError as error:
        dtype = np.dtype(resolve.dtypes(options).model).name
        raise BrokenModelError(
            f"the refiner makes numbers that are not finite (NaN or infinite) in {dtype} at "
            f"{size}: try --dtype float32 (DTYPE); if that does not help, its weights are damaged"
        ) from error


def _try_with_picture(
    runner: Runner, about: Description, options: Options, spec: ImageSpec
) -> None:
    try:
        _try(runner, about, options, spec)
    except BrokenModelError as error:
        dtype = np.dtype(resolve.dtypes(options).model).name
        raise BrokenModelError(
            f"it makes numbers that are not finite (NaN or infinite) in {dtype} at {spec.size}: "
            "take it out of the folder, or try --dtype float32 (DTYPE)"
        ) from error


def _spec(about: Description, size: Size, chunks: int) -> ImageSpec:
    defaults = about.capabilities.defaults
    return ImageSpec(
        prompt=Tokens(about.empty_text.ids * chunks, about.empty_text.ids_2 * chunks),
        negative=None,
        seed=0,
        steps=1,
        guidance=defaults.guidance_scale if about.capabilities.rows > 1 else 1.0,
        scheduler=defaults.scheduler,
        width=size.width,
        height=size.height,
        guidance_embedding=about.config.unet.guidance_features is not None,
    )


def _try(runner: Runner, about: Description, options: Options, spec: ImageSpec) -> None:
    table = sampler.make_table(
        about.config.scheduler,
        spec.scheduler,
        spec.schedule_length,
        begin=spec.skipped_steps,
        end=spec.refined_from,
    )
    try:
        runner.try_image(spec, table)
    except NotFinite as error:
        raise BrokenModelError(_what_to_do(error, options, spec.size)) from error


def _what_to_do(error: NotFinite, options: Options, size: Size) -> str:
    dtypes = resolve.dtypes(options)
    part = {"denoise": "unet", "decode": "vae"}.get(error.stage, error.where)
    dtype: Any = dtypes.vae if error.stage == "decode" else dtypes.model
    name = np.dtype(dtype).name
    if name == "float32":
        remedy = "its weights are damaged: fetch the model again"
    else:
        remedy = f"if {_HINTS[error.stage]} does not help, its weights are damaged"
    return (
        f"the model's {part} computes numbers that are not finite (NaN or infinite) in {name} at "
        f"{size}: {remedy}"
    )
