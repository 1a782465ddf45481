"""Images whose prompts name embeddings. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from easel_worker.engine import EmbeddingUse, ImageSpec, LoraUse, Tokens
from easel_worker.sdxl.folder.embedding_file import NAMES
from easel_worker.sdxl.serving.engine import SdxlEngine
from parity import cases, stub_tokenizer, synthetic
from parity.loras.cases import Use
from parity.loras.files import FILES as LORA_FILES
from parity.pipeline.cases import PipelineCase, vocabulary_of

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class EmbeddingFile:
    """An embedding to make: its name determines its values.

    Attributes:
        vectors: how many it has.
        names: what the file calls the vectors of the two text encoders.
    """

    name: str
    vectors: int
    names: tuple[str, str] = NAMES[0]

    @property
    def words(self) -> tuple[str, ...]:
        """diffusers' word for each vector."""
        return (self.name, *(f"{self.name}_{i}" for i in range(1, self.vectors)))

    def tensors(self, model: cases.Case) -> Mapping[str, Floats]:
        """Return the file's tensors. They are as large as the vectors of words."""
        widths = (model.text_encoder["hidden_size"], model.text_encoder_2["hidden_size"])
        return {
            name: synthetic.weight(f"{self.name} {name} embedding.weight", (self.vectors, width), 1)
            for name, width in zip(self.names, widths, strict=True)
        }

    def write(self, folder: Path, model: cases.Case) -> Path:
        """Write the file."""
        path = folder / f"{self.name}.safetensors"
        save_file(dict(self.tensors(model)), path)
        return path


FILES = (
    EmbeddingFile("cat-toy", 1),
    EmbeddingFile("ink", 3),
    EmbeddingFile("y2k", 2, NAMES[1]),
    EmbeddingFile("bad-hands", 8),
)
"""In diffusers' order of loading, in which their ids follow one another."""


@dataclass(frozen=True)
class EmbeddingCase:
    """An image to make with all `FILES` loaded.

    Attributes:
        loras: of the image.
        at_end: see `Parameters.pooled_at_end`; diffusers' encoders then have an eos_token_id.
    """

    name: str
    prompt: str
    negative: str
    loras: tuple[Use, ...] = ()
    at_end: bool = False

    @property
    def image(self) -> PipelineCase:
        """Return the image."""
        return replace(IMAGE, prompt=self.prompt, negative=self.negative)

    def spec(self, engine: SdxlEngine) -> ImageSpec:
        """Return the image as our engine's spec."""
        offered = engine.capabilities
        digests = {each.name: each.digest for each in (*offered.embeddings, *offered.loras)}
        words = {word for text in (self.prompt, self.negative) for word in text.split()}
        loras = (LoraUse(u.file.name, digests[u.file.name], u.unet, u.text) for u in self.loras)
        return replace(
            self.image.spec(),
            prompt=_tokens(self.prompt),
            negative=_tokens(self.negative),
            embeddings=tuple(
                EmbeddingUse(file.name, digests[file.name], FIRST_IDS[file.name])
                for file in FILES
                if file.name in words
            ),
            pooled_at_end=self.at_end,
            **({"loras": tuple(loras)} if self.loras else {}),
        )


IMAGE = PipelineCase("embeddings", cases.SDXL_BASE_IN_SMALL, steps=4)
"""The image that all cases make. Its text encoders have an eos_token_id of 2, as SDXL base's."""


def _first_ids() -> Mapping[str, int]:
    first, found = IMAGE.model.text_encoder["vocab_size"], {}
    for file in FILES:
        found[file.name] = first
        first += file.vectors
    return found


FIRST_IDS = _first_ids()


def _tokens(text: str) -> Tokens:
    return Tokens(_ids(text, "tokenizer"), _ids(text, "tokenizer_2"))


def _ids(text: str, tokenizer: str) -> tuple[int, ...]:
    """The stub tokenizer's ids, with an embedding's ids for its name."""
    size, length = vocabulary_of(IMAGE.model, tokenizer)
    files = {file.name: file for file in FILES}
    words: list[int] = []
    for word in text.split():
        if word in files:
            words += range(FIRST_IDS[word], FIRST_IDS[word] + files[word].vectors)
        else:
            words.append(stub_tokenizer.ids_of(word, tokenizer, size, length)[1])
    start, *_ = whole = stub_tokenizer.ids_of("", tokenizer, size, length)
    return (start, *words, *whole[1 : length - len(words)])


_LORA = Use(LORA_FILES["peft-all"], 0.5, 0.5)

EMBEDDING_CASES = (
    EmbeddingCase("one vector", "a photo of cat-toy on a red table", "dark"),
    EmbeddingCase("three vectors", "ink drawing of a fox", "blurry"),
    EmbeddingCase("negative", "a red fox", "blurry bad-hands dark"),
    EmbeddingCase("several, twice", "y2k fox y2k in ink and cat-toy", "bad-hands ink"),
    EmbeddingCase("with a LoRA", "ink drawing of cat-toy", "bad-hands", loras=(_LORA,)),
    EmbeddingCase("pooled at the end", "ink drawing of y2k", "bad-hands dark", at_end=True),
)

GOLDEN_CASE = EMBEDDING_CASES[4]
"""The one whose image is stored."""
