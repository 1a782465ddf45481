"""Encodes a prompt of several chunks or with weights: each chunk by itself, then the weights."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from jax import Array
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from easel_worker.engine import InvalidRequest, Tokens
from easel_worker.sdxl.serving import weighting
from easel_worker.sdxl.serving.programs import Encoded
from easel_worker.sdxl.serving.weighting import Floats
from easel_worker.values import Weighting

Seen = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""For each encoder which tokens of a chunk may be attended to: [tokens]."""

EncodeChunk = Callable[[tuple[int, ...], tuple[int, ...], Seen | None], Encoded]
"""Encodes one chunk: the ids for each encoder, and which tokens are visible (None for all)."""


class Embeddings(NamedTuple):
    """An encoded prompt: context [chunks · tokens, features], float32; pooled; finite as in
    `Encoded`."""

    context: Floats
    pooled: Array
    finite: NDArray[np.bool_]


def encode_weighted(
    tokens: Tokens,
    weighting: Weighting | UnsetType,
    empty: Tokens | UnsetType,
    *,
    length: int,
    features: int,
    encode: EncodeChunk,
) -> Embeddings:
    """Encode a prompt, chunk by chunk, and apply its weights.

    Args:
        tokens: the prompt.
        weighting: how the weights are applied.
        empty: the ids of the empty text, for compel.
        length: ids of a chunk.
        features: the first encoder's features, 0 without one; the second encoder's follow them in
            a context.
        encode: encodes one chunk.

    Raises:
        InvalidRequest: the weights produce numbers that are not finite.
    """
    prompt = _Prompt(tokens, length, features, encode)
    with np.errstate(all="ignore"):  # numbers that are not finite are found below
        halves = [prompt.weighted(half, weighting, empty) for half in (0, 1)]
    context = np.concatenate(halves, axis=-1)
    if prompt.finite.all() and not np.isfinite(context).all():
        raise InvalidRequest(
            "the prompt's weights produce numbers that are not finite: use smaller weights"
        )
    pooled = prompt.pooled()
    return Embeddings(context.reshape(-1, context.shape[-1]), pooled, prompt.finite)


class _Prompt:
    """A prompt's chunks, and their encodings, each made once. A *half* is 0 or 1, an encoder."""

    def __init__(self, tokens: Tokens, length: int, features: int, encode: EncodeChunk) -> None:
        self._tokens = tokens
        self._length = length
        self._features = features
        self._encode = encode
        self._chunks = range(len(tokens.ids) // length)
        self._masked = tuple(
            () if each is UNSET else each for each in (tokens.masked, tokens.masked_2)
        )
        self._states = cache(self._encode_states)
        self._plain = cache(self._encode_plain)
        self.finite = np.array([True, True])

    def weighted(self, half: int, how: Weighting | UnsetType, empty: Tokens | UnsetType) -> Floats:
        """The hidden states of an encoder with weights applied: [chunks, tokens, features]."""
        plain = self._variant(half, None)
        given = self._tokens.weights_2 if half else self._tokens.weights
        if given is UNSET or plain.shape[-1] == 0:  # as the first encoder's of SDXL's refiner
            return plain
        weights = np.array(given, np.float32).reshape(plain.shape[:2])
        if how == "a1111":
            return weighting.a1111(plain, weights)
        if empty is UNSET:
            raise InvalidRequest("empty is missing: weighting 'compel' needs it")
        nothing = self._halves(self._run(empty.ids, empty.ids_2, None))[half]

        def variant(span: int | None) -> Floats:
            return weighting.compel(self._variant(half, span), nothing, weights)

        spans = self._masked[half]
        if not spans:
            return variant(None)
        return weighting.blend(
            variant(None),
            [variant(span) for span in range(len(spans))],
            [given[start] for start, _ in spans],
        )

    def pooled(self) -> Array:
        """The pooled embedding: of the chunk that the request names, or of the first one."""
        first, ids_2 = self._chunk_ids(0)
        chosen = self._tokens.pooled_ids_2
        if chosen is UNSET or chosen == ids_2:
            return self._plain(0).prompt.pooled
        return self._run(first, chosen, None).prompt.pooled

    def _variant(self, half: int, span: int | None) -> Floats:
        """An encoder's states with one of the masked spans hidden, or none."""
        return np.stack([self._states(chunk, span)[half] for chunk in self._chunks])

    def _encode_states(self, chunk: int, span: int | None) -> tuple[Floats, Floats]:
        """Both encoders' states of a chunk. Only a chunk with hidden tokens is encoded again."""
        if span is None:
            return self._halves(self._plain(chunk))
        first, second = (self._seen(chunk, spans, span) for spans in self._masked)
        if first.all() and second.all():
            return self._states(chunk, None)
        return self._halves(self._run(*self._chunk_ids(chunk), (first, second)))

    def _encode_plain(self, chunk: int) -> Encoded:
        return self._run(*self._chunk_ids(chunk), None)

    def _run(self, ids: tuple[int, ...], ids_2: tuple[int, ...], seen: Seen | None) -> Encoded:
        encoded = self._encode(ids, ids_2, seen)
        self.finite = self.finite & np.asarray(encoded.finite)
        return encoded

    def _seen(self, chunk: int, spans: tuple[tuple[int, int], ...], span: int) -> NDArray[np.bool_]:
        if span >= len(spans):
            return np.ones(self._length, np.bool_)
        return weighting.visible(self._length, chunk, spans[span])

    def _halves(self, encoded: Encoded) -> tuple[Floats, Floats]:
        context = np.asarray(encoded.prompt.context).astype(np.float32)
        return context[:, : self._features], context[:, self._features :]

    def _chunk_ids(self, chunk: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        part = slice(chunk * self._length, (chunk + 1) * self._length)
        return self._tokens.ids[part], self._tokens.ids_2[part]
