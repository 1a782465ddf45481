"""Embeddings (textual inversions) for SDXL: vectors that stand for a word in both text encoders.

A file has a tensor [vectors, features] for each encoder, or [features] for one vector. Its tensors
are named as AUTOMATIC1111, ComfyUI and kohya name them, or as diffusers' training of pivotal tuning
has named them too:
https://github.com/huggingface/diffusers/blob/v0.42.1/examples/advanced_diffusion_training/train_dreambooth_lora_sdxl_advanced.py
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from easel_worker.sdxl.folder.checkpoint import StoredTensor, WeightsError, open_tensors
from easel_worker.sdxl.folder.shelf import Shelf
from easel_worker.sdxl.model.config import SdxlConfig

NAMES = (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1"))
"""What files call the vectors of the first and of the second text encoder."""

MAX_FILE_BYTES = 16 * 2**20
"""75 vectors of SDXL take 1.2 MiB in float64."""

Floats = NDArray[np.float32]


class EmbeddingError(ValueError):
    """A file is no embedding for this model. The text names the file and the tensor."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """The vectors of an embedding for the first and for the second text encoder.

    Attributes:
        first: [vectors, features].
        second: as many, [vectors, features].
    """

    first: Floats
    second: Floats

    @property
    def vectors(self) -> int:
        """How many tokens it takes the place of."""
        return len(self.first)


def embedding_shelf(
    folder: Path, config: SdxlConfig, most: int, report: Callable[[str], None] | None = None
) -> Shelf[Embedding]:
    """The embeddings of a folder, not read yet; see `Shelf`.

    Args:
        folder: has the files.
        config: of the model.
        most: vectors of an embedding.
        report: called with a line for each file that cannot be used.
    """
    return Shelf(
        folder,
        lambda path: read_embedding(path, config, most),
        what="an embedding",
        most_bytes=MAX_FILE_BYTES,
        report=report,
    )


def read_embedding(file: Path, config: SdxlConfig, most: int) -> Embedding:
    """Read an embedding.

    Args:
        file: a safetensors file.
        config: of the model.
        most: vectors that it may have.

    Raises:
        EmbeddingError: it is no embedding for this model; the text says why.
    """
    try:
        with open_tensors(file) as stored:
            first, second = _pair(file, {tensor.key: tensor for tensor in stored})
            vectors = _vectors(second, config.text_encoder_2.hidden, most)
            nothing = np.zeros((len(vectors), 0), np.float32)
            made = Embedding(
                # A model without the first encoder takes nothing for it.
                nothing
                if config.text_encoder is None
                else _vectors(first, config.text_encoder.hidden, most),
                vectors,
            )
    except WeightsError as error:
        raise EmbeddingError(str(error)) from error
    if len(made.first) != len(made.second):
        raise EmbeddingError(
            f"{file}: {first.key} has {len(made.first)} vectors and {second.key} has "
            f"{len(made.second)}, but both text encoders must have as many"
        )
    return made


def _pair(file: Path, stored: dict[str, StoredTensor]) -> tuple[StoredTensor, StoredTensor]:
    for first, second in NAMES:
        if stored.keys() == {first, second}:
            return stored[first], stored[second]
    found = ", ".join(sorted(stored)[:5]) or "no tensors"
    raise EmbeddingError(
        f"{file} has {found}, but an embedding for SDXL has clip_l and clip_g, the vectors for its "
        "two text encoders: one for SD 1.5, or for one encoder alone, does not fit"
    )


def _vectors(tensor: StoredTensor, features: int, most: int) -> Floats:
    name = f"{tensor.file}: {tensor.key}"
    shape = (1, *tensor.shape) if len(tensor.shape) == 1 else tensor.shape
    if len(shape) != 2 or shape[1] != features or shape[0] < 1:
        raise EmbeddingError(
            f"{name} has shape {list(tensor.shape)}, but this model's text encoder takes vectors "
            f"of {features} numbers"
        )
    if shape[0] > most:
        raise EmbeddingError(f"{name} has {shape[0]} vectors, but a prompt takes {most} at once")
    values: NDArray[Any] = tensor.read()
    with np.errstate(all="ignore"):
        vectors = values.reshape(shape).astype(np.float32)
    if not np.isfinite(vectors).all():
        raise EmbeddingError(f"{name} has numbers that are not finite")
    return vectors
