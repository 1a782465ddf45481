"""Runs diffusers' pipeline with embeddings that it loads itself. Needs torch."""

import copy
import io
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from parity import reference, stub_tokenizer
from parity.embeddings.cases import FILES, IMAGE, EmbeddingCase
from parity.pipeline import reference as pipelines
from parity.pipeline.cases import vocabulary_of

Floats = NDArray[np.float32]


class _Tokenizer:
    """The stub tokenizer with words that are added to it: what diffusers calls of one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._size, self.model_max_length = vocabulary_of(IMAGE.model, name)
        self.added_tokens_encoder: dict[str, int] = {}

    def __len__(self) -> int:
        return self._size + len(self.added_tokens_encoder)

    def get_vocab(self) -> dict[str, int]:
        return stub_tokenizer.vocabulary(self._size) | self.added_tokens_encoder

    def add_tokens(self, word: str) -> None:
        self.added_tokens_encoder[word] = len(self)

    def convert_tokens_to_ids(self, word: str) -> int:
        return self.added_tokens_encoder[word]

    def tokenize(self, text: str) -> list[str]:
        return text.split()

    def __call__(self, text: str | list[str], **_: Any) -> SimpleNamespace:
        texts = [text] if isinstance(text, str) else text
        return SimpleNamespace(input_ids=torch.tensor([self._ids(each) for each in texts]))

    def _ids(self, text: str) -> list[int]:
        length = self.model_max_length
        start, *rest = stub_tokenizer.ids_of("", self._name, self._size, length)
        words = [self._id(word) for word in text.split()]
        return [start, *words, *rest[: length - 1 - len(words)]]

    def _id(self, word: str) -> int:
        known = self.added_tokens_encoder.get(word)
        length = self.model_max_length
        return known or stub_tokenizer.ids_of(word, self._name, self._size, length)[1]


def run(case: EmbeddingCase, models: Mapping[str, Any]) -> tuple[NDArray[np.uint8], list[Floats]]:
    """Return diffusers' image, and its encoded prompts: as `SdxlEngine.prompts_of`, the negative
    one first, each as context [tokens, features] and pooled [features]."""
    own = copy.deepcopy(dict(models))
    pipeline = pipelines.pipeline_of(case.image, own)
    pipeline.tokenizer, pipeline.tokenizer_2 = map(_Tokenizer, ("tokenizer", "tokenizer_2"))
    _load(pipeline, case, models)
    prompts = _encoded(pipeline, case)
    width, height = IMAGE.pixels
    latents = torch.from_numpy(IMAGE.noise().transpose(2, 0, 1)[None].copy())
    result = pipeline(
        prompt=case.prompt,
        negative_prompt=case.negative,
        width=width,
        height=height,
        num_inference_steps=IMAGE.steps,
        guidance_scale=IMAGE.guidance,
        latents=latents,
        output_type="pil",
    )
    return np.asarray(result.images[0]), prompts


def _load(pipeline: Any, case: EmbeddingCase, models: Mapping[str, Any]) -> None:
    encoders = {
        "tokenizer": pipeline.text_encoder,
        "tokenizer_2": pipeline.text_encoder_2,
    }
    for file in FILES:
        values = file.tensors(IMAGE.model).values()
        for (name, encoder), tensor in zip(encoders.items(), values, strict=True):
            pipeline.load_textual_inversion(
                torch.from_numpy(np.asarray(tensor)),
                token=file.name,
                text_encoder=encoder,
                tokenizer=getattr(pipeline, name),
            )
    if case.at_end:
        for encoder in encoders.values():
            size = IMAGE.model.text_encoder["vocab_size"]
            getattr(encoder, "text_model", encoder).eos_token_id = size - 1
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):
        for use in case.loras:
            path = use.file.write(Path(folder), reference.shapes(models))
            pipeline.load_lora_weights(folder, weight_name=path.name, adapter_name="lora")
            weights = {"unet": use.unet, "text_encoder": use.text, "text_encoder_2": use.text}
            pipeline.set_adapters(["lora"], adapter_weights=[weights])


@torch.no_grad()
def _encoded(pipeline: Any, case: EmbeddingCase) -> list[Floats]:
    context, negative, pooled, negative_pooled = pipeline.encode_prompt(
        case.prompt, negative_prompt=case.negative, do_classifier_free_guidance=True
    )
    return [each[0].numpy() for each in (negative, negative_pooled, context, pooled)]
