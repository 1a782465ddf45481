"""Runs diffusers' pipelines with LoRAs, ControlNets and IP-Adapters. Needs torch."""

import copy
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from parity.controls import reference as controls
from parity.ensembles import reference as ensembles
from parity.ensembles.cases import EnsembleCase
from parity.pipeline import reference as pipelines
from parity.reference import Model
from parity.together.cases import LORA, TogetherCase, nets_of


@torch.no_grad()
def run(
    case: TogetherCase, models: Mapping[str, Model], refiner: Mapping[str, Model], files: Path
) -> NDArray[np.uint8]:
    """Return diffusers' image, [H, W, 3].

    Args:
        case: what to make.
        models: the pipeline's models; they stay as they are.
        refiner: those of the refiner that finishes some images.
        files: of `ours.write_files`.
    """
    image, own = case.image, copy.deepcopy(dict(models))
    nets = controls.build(nets_of(image.model))
    controls.fill_synthetic(nets)
    pipeline, given = controls.pipeline_of(case.control, own, nets)
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
    with controls.features(case.control, nets, pipeline.unet):
        if case.end is None:
            return pipelines.call(image, pipeline, **given)
        with _until(case.end, pipeline, given):
            given |= pipelines.beginning(image)
            latents = pipelines.images(image, pipeline, output="latent", **given)
    # The samplers of these cases draw no noise that would depend on the evaluations before.
    return ensembles.finished(EnsembleCase(image, case.end), latents, models, refiner, before=0)


@contextmanager
def _until(end: float, pipeline: Any, given: dict[str, Any]) -> Iterator[None]:
    """Let a pipeline end where a refiner goes on.

    That of pictures and ControlNets has no `denoising_end`: it gets the steps that
    `StableDiffusionXLImg2ImgPipeline` would leave.
    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl_img2img.py#L1366
    """
    if type(pipeline).__name__ != "StableDiffusionXLControlNetImg2ImgPipeline":
        given["denoising_end"] = end
        yield
        return
    get, trained = pipeline.get_timesteps, pipeline.scheduler.config.num_train_timesteps

    def left(*args: Any, **more: Any) -> tuple[torch.Tensor, int]:
        timesteps, _ = get(*args, **more)
        kept = timesteps[timesteps >= round(trained - end * trained)]
        return kept, len(kept)

    with mock.patch.object(pipeline, "get_timesteps", left):
        yield
