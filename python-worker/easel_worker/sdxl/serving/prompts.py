"""Encodes the prompts of images, and keeps those of recent requests on the devices."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Sharding
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from easel_worker.embedding_check import embeddings_of
from easel_worker.engine import EmbeddingUse, ImageSpec, LoraUse, Tokens
from easel_worker.sdxl.folder.model import TextParams
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.serving.chunk_vectors import ChunkVectors
from easel_worker.sdxl.serving.program_set import ProgramSet
from easel_worker.sdxl.serving.programs import Encoded, Prompt
from easel_worker.sdxl.serving.remembered import Remembered
from easel_worker.sdxl.serving.weighted_prompt import Seen, encode_weighted
from easel_worker.values import Weighting

REMEMBERED_PROMPTS = 64
"""How many encoded prompts stay on the devices: 0.3 MB for each chunk of SDXL's in bfloat16."""


class _How(NamedTuple):
    """What decides a prompt's embeddings besides its tokens; see `Parameters`."""

    clip_skip: int = 0
    weighting: Weighting | UnsetType = UNSET
    empty: Tokens | UnsetType = UNSET
    loras: tuple[LoraUse, ...] = ()
    embeddings: tuple[EmbeddingUse, ...] = ()
    pooled_at_end: bool = False


def sorted_loras(spec: ImageSpec) -> tuple[LoraUse, ...]:
    """An image's LoRAs in the order in which their changes are summed."""
    return () if spec.loras is UNSET else tuple(sorted(spec.loras))


def _of_text(spec: ImageSpec) -> tuple[LoraUse, ...]:
    """What decides the text encoders' parameters."""
    uses = (use for use in sorted_loras(spec) if use.text_weight)
    return tuple(replace(use, unet_weight=0.0) for use in uses)


class PromptEncoder:
    """Encodes prompts for the UNet. Safe for several threads."""

    def __init__(
        self,
        config: SdxlConfig,
        params: Callable[[Sequence[LoraUse]], TextParams],
        programs: ProgramSet,
        everywhere: Sharding,
        *,
        empty_text: Tokens,
        vectors: ChunkVectors,
    ) -> None:
        """Args:

        config: the model's configuration.
        params: gives the text encoders with LoRAs.
        programs: the compiled programs.
        everywhere: where encoded prompts are placed.
        empty_text: the ids of the empty text.
        vectors: gives the vectors of embeddings.
        """
        self._features = 0 if config.text_encoder is None else config.text_encoder.hidden
        self._zeros_for_missing = config.force_zeros_for_empty_prompt
        self._params = params
        self._programs = programs
        self._everywhere = everywhere
        self._empty_text = empty_text
        self._vectors = vectors
        self._remembered = Remembered(self._encode, REMEMBERED_PROMPTS)
        self._missing = Remembered(self._encode_missing, REMEMBERED_PROMPTS)

    def chunks(self, tokens: Tokens) -> int:
        """How many chunks a prompt has."""
        return len(tokens.ids) // len(self._empty_text.ids)

    def of_image(self, spec: ImageSpec, *, remember: bool = True) -> list[Encoded]:
        """The encoded prompts of an image: the prompt, with the negative one before it if guided.

        Args:
            spec: the image's spec.
            remember: take prompts from the cache and keep them there.

        Raises:
            InvalidRequest: the weights produce numbers that are not finite, or an embedding's file
                is another one now.
        """
        return [
            encode(*args) if remember or encode is self._missing else encode.make(*args)
            for encode, args in self._asked(spec)
        ]

    def remembers(self, spec: ImageSpec) -> bool:
        """Whether `of_image` has all prompts of an image. See there for what is raised."""
        return all(args in encode for encode, args in self._asked(spec))

    def _asked(self, spec: ImageSpec) -> list[tuple[Remembered[Encoded], tuple[Hashable, ...]]]:
        """How each prompt of an image is encoded: the function, and what it takes."""
        how = _How(
            spec.clip_skip,
            spec.weighting,
            spec.empty,
            _of_text(spec),
            pooled_at_end=spec.pooled_at_end,
        )
        used = partial(self._vectors.used_in, uses=embeddings_of(spec))
        own = how._replace(embeddings=used(spec.prompt))
        prompt = self._remembered, (spec.prompt, own)
        if not spec.guided:
            return [prompt]
        if spec.negative is None:
            loras = () if self._zeros_for_missing else how.loras
            return [(self._missing, (self.chunks(spec.prompt), loras)), prompt]
        # diffusers applies clip_skip to the prompt only.
        negative = how._replace(clip_skip=0, embeddings=used(spec.negative))
        return [(self._remembered, (spec.negative, negative)), prompt]

    def _encode_missing(self, chunks: int, loras: tuple[LoraUse, ...]) -> Encoded:
        """The embeddings of a missing negative prompt.

        As in diffusers zeros if the model says so (`force_zeros_for_empty_prompt`), else those of
        the empty text.
        """
        if not self._zeros_for_missing:
            ids, ids_2 = self._empty_text.ids, self._empty_text.ids_2
            return self._encode(Tokens(ids * chunks, ids_2 * chunks), _How(loras=loras))
        shapes = self._programs.prompt_shapes(chunks)
        zeros: Prompt = jax.tree.map(lambda a: self._place(np.zeros(a.shape, a.dtype)), shapes)
        return Encoded(zeros, np.array([True, True]))

    def _encode(self, tokens: Tokens, how: _How) -> Encoded:
        params = self._params(how.loras)
        skip = np.int32(how.clip_skip)

        def encode(
            ids: tuple[int, ...], ids_2: tuple[int, ...], seen: Seen | None = None
        ) -> Encoded:
            texts = self._vectors.of_chunk(ids, ids_2, how.embeddings, at_end=how.pooled_at_end)
            if seen is None:
                return self._programs.encode(params, *texts, skip)
            return self._programs.encode_masked(params, *texts, skip, seen)

        if self.chunks(tokens) == 1 and not tokens.weighted:
            return encode(tokens.ids, tokens.ids_2)
        made = encode_weighted(
            tokens,
            how.weighting,
            how.empty,
            length=len(self._empty_text.ids),
            features=self._features,
            encode=encode,
        )
        dtype = self._programs.prompt_shapes(1).context.dtype
        return Encoded(Prompt(self._place(made.context.astype(dtype)), made.pooled), made.finite)

    def _place(self, array: NDArray[np.generic]) -> jax.Array:
        placed: jax.Array = jax.device_put(array, self._everywhere)
        return placed
