"""Writes the smallest SDXL that has every component, as a diffusers folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from easel_worker.engine import ImageSpec, Tokens
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.model.params import declared
from easel_worker.sdxl.model.text_encoder import TextEncoder
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.model.vae import Vae
from easel_worker.values import Size
from parity import cases, stub_tokenizer, synthetic
from parity.pipeline.cases import SDXL_SCHEDULER

WORDS, LENGTH = 100, 12
"""The vocabulary's size, and the ids in a text."""

SIZES = (Size(16, 8), Size(8, 8))

_TEXT = {"model_type": "clip_text_model", "vocab_size": WORDS, "max_position_embeddings": LENGTH}
_FILES: dict[str, Any] = {
    "model_index.json": {"_class_name": "StableDiffusionXLPipeline"},
    "scheduler/scheduler_config.json": SDXL_SCHEDULER,
    "text_encoder/config.json": cases.text(8, 2, 1, **_TEXT, eos_token_id=WORDS - 1),
    "text_encoder_2/config.json": cases.text(8, 2, 1, **_TEXT, eos_token_id=WORDS - 1),
    "unet/config.json": cases.unet((8, 16), "DC", [1, 2], 16, **cases.added(4, 8)),
    "vae/config.json": cases.vae((8, 8)),
    "easel.json": {
        "defaults": {"width": 16, "height": 8, "num_inference_steps": 4},
        "sizes": SIZES,
    },
}


def write(folder: Path, unet: Mapping[str, Any] | None = None) -> Path:
    """Write the model, its tokenizers and its easel.json; `unet` changes the UNet's config."""
    own = {"unet/config.json": _FILES["unet/config.json"] | dict(unet or {})}
    for path, content in (_FILES | own).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(content))
    for tokenizer in stub_tokenizer.PADS:
        stub_tokenizer.write(folder, tokenizer, WORDS, LENGTH)
    config = load_config(folder)
    _save(folder / "text_encoder/model", TextEncoder.declare(config.text_encoder))
    _save(folder / "text_encoder_2/model", TextEncoder.declare(config.text_encoder_2))
    _save(folder / "unet/diffusion_pytorch_model", UNet.declare(config.unet))
    _save(folder / "vae/diffusion_pytorch_model", Vae.declare(config.vae))
    return folder


def write_refiner(folder: Path, scheduler: Mapping[str, Any] | None = None) -> Path:
    """Write a refiner for the model, whose text encoder equals the model's second one.

    `scheduler` changes its scheduler's config.
    """
    files = {path: content for path, content in _FILES.items() if "text_encoder/" not in path}
    files |= {
        "model_index.json": {
            "_class_name": "StableDiffusionXLImg2ImgPipeline",
            "text_encoder": [None, None],
            "requires_aesthetics_score": True,
            "force_zeros_for_empty_prompt": False,
        },
        "unet/config.json": cases.unet((8, 8), "CD", [1, 2], 8, **cases.added(4, 8, ids=5)),
        "scheduler/scheduler_config.json": SDXL_SCHEDULER | dict(scheduler or {}),
    }
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(content))
    stub_tokenizer.write(folder, "tokenizer_2", WORDS, LENGTH)
    config = load_config(folder)
    _save(folder / "text_encoder_2/model", TextEncoder.declare(config.text_encoder_2))
    _save(folder / "unet/diffusion_pytorch_model", UNet.declare(config.unet))
    return folder


def _save(stem: Path, tree: Any) -> None:
    tensors = {p.name: synthetic.weight(p.name, p.stored, gain=1.0) for p in declared(tree)}
    save_file(
        {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()},
        stem.with_suffix(".safetensors"),
    )


def tokens(text: str) -> Tokens:
    """The ids of a text."""
    first, second = (
        tuple(stub_tokenizer.ids_of(text, name, WORDS, LENGTH)) for name in stub_tokenizer.PADS
    )
    return Tokens(first, second)


def long(*texts: str, **lists: Any) -> Tokens:
    """A prompt of a chunk for each text, with these weights and masks."""
    parts = [tokens(text) for text in texts]
    ids = tuple(each for part in parts for each in part.ids)
    return Tokens(ids, tuple(each for part in parts for each in part.ids_2), **lists)


def spec(text: str = "a red circle", **changes: Any) -> ImageSpec:
    """A guided image of four steps, with `changes`."""
    values: dict[str, Any] = {
        "prompt": tokens(text),
        "negative": None,
        "seed": 1,
        "steps": 4,
        "guidance": 5.0,
        "scheduler": "euler",
        "width": 16,
        "height": 8,
    }
    return ImageSpec(**(values | changes))
