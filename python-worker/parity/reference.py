"""Builds and runs SDXL's parts with diffusers and transformers. Needs torch."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLImg2ImgPipeline,
    UNet2DConditionModel,
)
from diffusers import StableDiffusionXLPipeline as Pipeline
from numpy.typing import NDArray
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from parity.cases import Case
from parity.golden import Golden

Arrays = Mapping[str, NDArray[Any]]
Model = torch.nn.Module
Fill = Callable[[str, tuple[int, ...]], NDArray[Any]]

COMPONENTS = ("text_encoder", "text_encoder_2", "unet", "vae")


def build(case: Case) -> dict[str, Model]:
    """Build the models of a case, in evaluation mode, initialised as their classes do."""
    first: dict[str, Model] = {}
    if case.text_encoder is not None:
        first = {"text_encoder": CLIPTextModel(CLIPTextConfig(**case.text_encoder))}
    models: dict[str, Model] = {
        **first,
        "text_encoder_2": CLIPTextModelWithProjection(CLIPTextConfig(**case.text_encoder_2)),
        "unet": UNet2DConditionModel(**case.unet),
        "vae": AutoencoderKL(**case.vae),
    }
    return {name: model.eval() for name, model in models.items()}


def read(folder: Path) -> dict[str, Model]:
    """Load the models of a diffusers folder, in float32."""
    full = torch.float32
    first: dict[str, Model] = {}
    if (folder / "text_encoder").is_dir():
        first["text_encoder"] = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=full)
    models: dict[str, Model] = {
        **first,
        "text_encoder_2": CLIPTextModelWithProjection.from_pretrained(
            folder / "text_encoder_2", dtype=full
        ),
        "unet": UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=full),
        "vae": AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=full),
    }
    return {name: model.eval() for name, model in models.items()}


def shapes(models: Mapping[str, Model]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the name and shape of every tensor of each model, as the libraries name them."""
    return {
        part: {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        for part, model in models.items()
    }


def fill(model: Model, values: Fill) -> None:
    """Replace each parameter by `values` of its name and shape."""
    state = {
        name: torch.from_numpy(values(name, tuple(tensor.shape)))
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(state)


def of_golden(case: Case, stored: Golden) -> dict[str, Model]:
    """Build the four models of a case with the weights of its golden file, in float32."""
    models = build(case)
    for part, model in models.items():
        weights = stored.weights(part)
        fill(model, lambda name, _, w=weights: w[name].astype(np.float32))
    return models


def pipeline(models: Mapping[str, Model]) -> Any:
    """Return the models as a pipeline without tokenizers, which can save a diffusers folder."""
    scheduler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1
    )
    parts: dict[str, Any] = {**models, "scheduler": scheduler, "tokenizer": None}
    if "text_encoder" in models:
        return Pipeline(**parts, tokenizer_2=None)
    return StableDiffusionXLImg2ImgPipeline(
        **parts,
        tokenizer_2=None,
        text_encoder=None,
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
    )


def inputs(case: Case, seed: int) -> dict[str, NDArray[Any]]:
    """Return random inputs for all four models, in diffusers' layout."""
    rng = np.random.default_rng(seed)
    height, width = case.latents
    scale = 2 ** (len(case.vae["block_out_channels"]) - 1)

    def normal(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape, dtype=np.float32)

    latents = (case.batch, case.unet.get("in_channels", 4), height, width)
    pooled = case.text_encoder_2["projection_dim"]
    added = case.unet["projection_class_embeddings_input_dim"] - pooled
    sizes = added // case.unet["addition_time_embed_dim"]
    given = {
        "ids": _ids(case.first_text_encoder, case.batch, rng),
        "ids_2": _ids(case.text_encoder_2, case.batch, rng),
        "sample": normal(*latents),
        "timestep": rng.choice(np.float32([1, 7.5, 400, 999]), case.batch),
        "context": normal(case.batch, 13, case.unet["cross_attention_dim"]),
        "pooled": normal(case.batch, pooled),
        "time_ids": rng.choice(np.float32([0, 64, 768, 1024]), (case.batch, sizes)),
        "latents": normal(1, 4, 6, 4),
        "image": np.tanh(normal(1, 3, 6 * scale, 4 * scale)),
    }
    if case.unet.get("time_cond_proj_dim") is not None:
        given["guidance"] = rng.choice(np.float32([1, 2.5, 7, 8]), case.batch)
    return given


def _ids(config: Mapping[str, Any], batch: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return random ids: start, words, end and padding, with texts of different lengths.

    The end is the highest id only for old configs, which rely on that.
    """
    tokens, start = config["max_position_embeddings"], config["bos_token_id"]
    end = start + 1
    ids = rng.integers(1, config["vocab_size"] - 1, (batch, tokens))
    ids[ids == end] = 1
    ids[:, 0] = start
    for row, length in enumerate(rng.integers(1, tokens, batch)):
        ids[row, length] = end
        ids[row, length + 1 :] = rng.choice([0, end])
    return ids


def _embed_guidance(unet: Any, guidance: torch.Tensor | None) -> torch.Tensor | None:
    """Return guidance scales [B] as the pipeline passes them to the UNet."""
    if guidance is None:
        return None
    features = unet.config.time_cond_proj_dim
    return Pipeline.get_guidance_scale_embedding(None, guidance - 1, features)


@torch.no_grad()
def decode_in_tiles(vae: Any, latents: NDArray[np.float32], tile: int) -> NDArray[np.float32]:
    """Return diffusers' tiled decoding, in its layout, for tiles with sides of `tile` latents."""
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    before = vae.tile_latent_min_size, vae.tile_sample_min_size
    vae.enable_tiling()
    vae.tile_latent_min_size, vae.tile_sample_min_size = tile, tile * scale
    image = vae.decode(torch.from_numpy(latents)).sample.numpy()
    vae.disable_tiling()
    vae.tile_latent_min_size, vae.tile_sample_min_size = before
    return np.asarray(image)


@torch.no_grad()
def run(models: Mapping[str, Any], given: Arrays) -> dict[str, NDArray[Any]]:
    """Return all outputs that we compare, in diffusers' layout."""
    tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in given.items()}
    second = models["text_encoder_2"](tensors["ids_2"], output_hidden_states=True)
    noise = models["unet"](
        tensors["sample"],
        tensors["timestep"],
        tensors["context"],
        timestep_cond=_embed_guidance(models["unet"], tensors.get("guidance")),
        added_cond_kwargs={"text_embeds": tensors["pooled"], "time_ids": tensors["time_ids"]},
    )
    posterior = models["vae"].encode(tensors["image"]).latent_dist
    outputs = {}
    if "text_encoder" in models:
        first = models["text_encoder"](tensors["ids"], output_hidden_states=True)
        outputs = {
            "text_encoder.hidden_states": torch.stack(first.hidden_states),
            "text_encoder.pooled": first.pooler_output,
        }
    outputs |= {
        "text_encoder_2.hidden_states": torch.stack(second.hidden_states),
        "text_encoder_2.pooled": second.text_embeds,
        "unet": noise.sample,
        "vae.decode": models["vae"].decode(tensors["latents"]).sample,
        "vae.encode.mean": posterior.mean,
        "vae.encode.logvar": posterior.logvar,
    }
    return {name: value.numpy() for name, value in outputs.items()}
