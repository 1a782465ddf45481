"""CLIP's text encoder, with and without a projection. SDXL uses one of each."""

from dataclasses import field
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl.model.clip_layer import ClipLayer
from easel_worker.sdxl.model.config import TextConfig
from easel_worker.sdxl.model.layers import Embedding, LayerNorm, Linear
from easel_worker.sdxl.model.params import STATIC, layer, with_aliases

PREFIX = "text_model."
LEGACY_EOS_ID = 2
"""The eos_token_id of old configs. The end-of-text token is then the highest id of a text."""


class TextWithVectors(NamedTuple):
    """A text of which some tokens are vectors of embeddings.

    Attributes:
        ids: [tokens], int32; where a vector counts, only to find the end-of-text token.
        vectors: [tokens, hidden].
        here: [tokens], True where the vector counts instead of the token.
    """

    ids: Array
    vectors: Array
    here: Array


class TextOutput(NamedTuple):
    """The outputs of an encoder for a prompt.

    Attributes:
        hidden_states: [layers + 1, B, tokens, hidden], the embeddings and the output of each layer,
            before the final norm.
        pooled: [B, projection or hidden], the final state of the end-of-text token.
    """

    hidden_states: Array
    pooled: Array


@layer
class TextEncoder:
    """A whole encoder."""

    token_embedding: Embedding
    position_embedding: Embedding
    layers: tuple[ClipLayer, ...]
    final_norm: LayerNorm
    projection: Linear | None
    config: TextConfig = field(metadata=STATIC)

    @classmethod
    def declare(cls, config: TextConfig) -> Self:
        """Declare the encoder of a checkpoint with this config."""
        hidden, embeddings = config.hidden, f"{PREFIX}embeddings"
        projection = None
        if config.projection is not None:
            projection = Linear.declare("text_projection", hidden, config.projection, bias=False)
        declared = cls(
            token_embedding=Embedding.declare(
                f"{embeddings}.token_embedding", config.vocabulary, hidden
            ),
            position_embedding=Embedding.declare(
                f"{embeddings}.position_embedding", config.positions, hidden
            ),
            layers=tuple(
                ClipLayer.declare(f"{PREFIX}encoder.layers.{i}", config)
                for i in range(config.layers)
            ),
            final_norm=LayerNorm.declare(f"{PREFIX}final_layer_norm", hidden, eps=config.norm_eps),
            projection=projection,
            config=config,
        )
        if projection is not None:
            return declared
        # transformers 5 saves an encoder without projection without the prefix.
        return with_aliases(declared, lambda name: name.removeprefix(PREFIX))

    def __call__(
        self, ids: Array, seen: Array | None = None, given: TextWithVectors | None = None
    ) -> TextOutput:
        """Encode prompts.

        Args:
            ids: token ids [B, tokens], int32, with at most `config.positions` tokens.
            seen: [tokens], True for tokens that may be attended to; None for all.
            given: vectors instead of tokens, the same for all prompts; None for none.

        https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/clip/modeling_clip.py#L504
        """
        tokens = ids.shape[1]
        with jax.named_scope("embed"):
            positions = self.position_embedding.weight[:tokens]
            x = self.token_embedding(ids)
            if given is not None:
                x = jnp.where(given.here[:, None], given.vectors, x)
            x = x + positions
        mask = jnp.tril(
            jnp.ones((tokens, tokens), dtype=bool)
        )  # a token attends to itself and earlier ones
        if seen is not None:
            mask = mask & seen
        states = [x]
        for i, each in enumerate(self.layers):
            with jax.named_scope(f"layer_{i}"):
                states.append(each(states[-1], mask))
        with jax.named_scope("pool"):
            last = self.final_norm(states[-1])
            pooled = last[jnp.arange(ids.shape[0]), _end_of_text(self.config, ids)]
            if self.projection is not None:
                pooled = self.projection(pooled)
        return TextOutput(jnp.stack(states), pooled)


def _end_of_text(config: TextConfig, ids: Array) -> Array:
    """The index of the end-of-text token in each row of ids [B, tokens] → [B].

    https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/clip/modeling_clip.py#L552
    """
    if config.eos_token_id == LEGACY_EOS_ID:
        return jnp.argmax(ids, axis=-1)
    return jnp.argmax(ids == config.eos_token_id, axis=-1)
