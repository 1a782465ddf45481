"""Embeddings of weighted prompts by compel itself and by AUTOMATIC1111's rule in torch.

Needs torch and compel 2.5.1. compel's text encoding is driven by words, so a tokenizer here hashes
words to ids, as our stub tokenizers do. AUTOMATIC1111's rule is written anew from its description:
each chunk's hidden states times their weights, scaled to the chunk's mean before.

https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/sd_emphasis.py#L33
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from compel.embeddings_provider import (
    EmbeddingsProvider,
    ReturnedEmbeddingsType,
    SplitLongTextMode,
)
from diffusers import StableDiffusionXLPipeline
from numpy.typing import NDArray

from easel_worker.engine import Tokens
from parity import stub_tokenizer
from parity.pipeline.cases import vocabulary_of
from parity.pipeline.reference import pipeline_of
from parity.reference import Model
from parity.weights.cases import IMAGE, WeightsCase

ENCODERS = (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"))


class Reference(NamedTuple):
    """A prompt for our engine, its context [1, tokens, features] and pooled [1, features]."""

    tokens: Tokens
    context: torch.Tensor
    pooled: torch.Tensor


class _WordTokenizer:
    """The part of a CLIP tokenizer's interface that compel uses."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._size, self.model_max_length = vocabulary_of(IMAGE.model, name)
        ids = stub_tokenizer.vocabulary(self._size)
        self.bos_token_id, self.eos_token_id = ids[stub_tokenizer.START], ids[stub_tokenizer.END]
        self.pad_token_id = ids[stub_tokenizer.PADS[name]]

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [self._ids(text) for text in texts]}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [f"w{each}</w>" for each in ids]

    def _ids(self, text: str) -> list[int]:
        length = len(text.split()) + 2
        return stub_tokenizer.ids_of(text, self._name, self._size, length)


def encode(case: WeightsCase, models: Mapping[str, Model]) -> Reference:
    """Return the embeddings of a case's prompt."""
    parts: dict[str, Any] = {}
    contexts = []
    for suffix, (tokenizer, encoder) in zip(("", "_2"), ENCODERS, strict=True):
        provider = _provider(tokenizer, models[encoder])
        texts, weights = [[text for text, _ in case.fragments]], [[w for _, w in case.fragments]]
        ids, per_token, _ = provider.get_token_ids_and_expand_weights(
            texts[0], weights[0], device="cpu"
        )
        parts[f"ids{suffix}"] = tuple(ids.tolist())
        parts[f"weights{suffix}"] = tuple(per_token.tolist())
        if case.weighting == "a1111":
            contexts.append(_a1111(ids, per_token, models[encoder], provider.max_token_count))
            continue
        ranges = provider._get_token_ranges_for_fragments(ids.tolist(), texts[0])
        parts[f"masked{suffix}"] = tuple(
            (start, end + 1)
            for (start, end), weight in zip(ranges, weights[0], strict=True)
            if weight < 1
        )
        with torch.no_grad():
            contexts.append(provider.get_embeddings_for_weighted_prompt_fragments(texts, weights))
    tokens = Tokens(**parts)
    return Reference(tokens, torch.cat(contexts, dim=-1), _pooled(tokens, models))


def image(reference: Reference, models: Mapping[str, Model]) -> NDArray[np.uint8]:
    """Return diffusers' image from these embeddings, [H, W, 3]; no negative prompt is zeros."""
    pipeline: StableDiffusionXLPipeline = pipeline_of(IMAGE, models)
    width, height = IMAGE.pixels
    result = pipeline(
        prompt_embeds=reference.context,
        pooled_prompt_embeds=reference.pooled,
        negative_prompt_embeds=torch.zeros_like(reference.context),
        negative_pooled_prompt_embeds=torch.zeros_like(reference.pooled),
        width=width,
        height=height,
        num_inference_steps=IMAGE.steps,
        guidance_scale=IMAGE.guidance,
        latents=torch.from_numpy(IMAGE.noise().transpose(2, 0, 1)[None].copy()),
        output_type="pil",
    )
    return np.asarray(result.images[0])


def _provider(tokenizer: str, encoder: Model) -> EmbeddingsProvider:
    with mock.patch.object(torch.cuda, "is_available", return_value=False):
        return EmbeddingsProvider(
            tokenizer=_WordTokenizer(tokenizer),
            text_encoder=encoder,
            truncate=False,
            returned_embeddings_type=ReturnedEmbeddingsType.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED,
            split_long_text_mode=SplitLongTextMode.SENTENCES,
            device="cpu",
        )


@torch.no_grad()
def _a1111(ids: torch.Tensor, weights: torch.Tensor, encoder: Model, length: int) -> torch.Tensor:
    chunks = []
    for chunk, factors in zip(ids.split(length), weights.split(length), strict=True):
        hidden = encoder(chunk[None], output_hidden_states=True).hidden_states[-2]
        scaled = hidden * factors[None, :, None]
        chunks.append(scaled * (hidden.mean() / scaled.mean()))
    return torch.cat(chunks, dim=1)


@torch.no_grad()
def _pooled(tokens: Tokens, models: Mapping[str, Model]) -> torch.Tensor:
    length = vocabulary_of(IMAGE.model, "tokenizer_2")[1]
    output: SimpleNamespace = models["text_encoder_2"](torch.tensor([tokens.ids_2[:length]]))
    pooled: torch.Tensor = output.text_embeds
    return pooled
