"""The vectors of embeddings in a chunk of a prompt, as the encoding program takes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from easel_worker.engine import EmbeddingUse, InvalidRequest, Tokens
from easel_worker.sdxl.folder.embedding_file import Embedding, Floats
from easel_worker.sdxl.folder.shelf import Shelf
from easel_worker.sdxl.model.text_encoder import TextWithVectors

Texts = tuple[NDArray[np.int32], NDArray[np.int32]] | tuple[TextWithVectors, TextWithVectors]
"""A chunk's ids for both encoders, [tokens] each; with vectors if the program takes them."""

_NO_WORD = 0
"""The id in the place of a vector that must not look like the end of the text."""


class ChunkVectors:
    """Puts the vectors of embeddings in the places of their ids."""

    def __init__(
        self,
        shelf: Shelf[Embedding] | None,
        nothing: tuple[TextWithVectors, TextWithVectors] | None,
    ) -> None:
        """Args:

        shelf: the embeddings; None for none.
        nothing: what the program takes without embeddings; None if it takes no vectors.
        """
        self._shelf = shelf
        self._nothing = nothing

    def used_in(self, tokens: Tokens, uses: Sequence[EmbeddingUse]) -> tuple[EmbeddingUse, ...]:
        """Those embeddings of which a prompt has an id.

        Raises:
            InvalidRequest: a file is another one now.
        """
        if not uses:
            return ()
        pooled = () if tokens.pooled_ids_2 is UNSET else tokens.pooled_ids_2
        ids = {*tokens.ids, *tokens.ids_2, *pooled}
        return tuple(use for use in uses if not ids.isdisjoint(self.ids_of(use)))

    def ids_of(self, use: EmbeddingUse) -> range:
        """The ids of an embedding's vectors. See `used_in` for what is raised."""
        return range(use.first_id, use.first_id + self._find(use).vectors)

    def of_chunk(
        self,
        ids: Sequence[int],
        ids_2: Sequence[int],
        uses: Sequence[EmbeddingUse],
        *,
        at_end: bool,
    ) -> Texts:
        """A chunk for the program.

        Args:
            ids: for the first encoder, [tokens].
            ids_2: for the second one.
            uses: the embeddings whose ids it may have.
            at_end: see `Parameters.pooled_at_end`.

        Raises:
            InvalidRequest: a file is another one now.
        """
        first, second = np.array(ids, np.int32), np.array(ids_2, np.int32)
        if self._nothing is None:
            return first, second
        found = [(use.first_id, self._find(use)) for use in uses]
        one, two = self._nothing
        return (
            _placed(first, [(start, each.first) for start, each in found], one, at_end=at_end),
            _placed(second, [(start, each.second) for start, each in found], two, at_end=at_end),
        )

    def _find(self, use: EmbeddingUse) -> Embedding:
        shelved = None if self._shelf is None else self._shelf.table.get(use.name)
        if shelved is None or shelved.digest != use.digest:
            raise InvalidRequest(
                f"the embedding {use.name} with digest {use.digest} is not here any more: ask "
                "which embeddings there are"
            )
        return shelved.item


def _placed(
    ids: Any,
    embeddings: Sequence[tuple[int, Floats]],
    nothing: TextWithVectors,
    *,
    at_end: bool,
) -> TextWithVectors:
    """A text, [tokens], with its embeddings, each with its first id."""
    if not embeddings:
        return nothing._replace(ids=ids)
    vectors: Any = np.array(nothing.vectors)
    here: Any = np.array(nothing.here)
    for start, own in embeddings:
        (places,) = np.nonzero((ids >= start) & (ids < start + len(own)))
        vectors[places] = own[ids[places] - start]
        here[places] = True
    if at_end:
        ids = np.where(here, _NO_WORD, ids).astype(np.int32)
    return TextWithVectors(ids, vectors, here)
