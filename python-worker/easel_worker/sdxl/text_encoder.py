"""CLIP's text encoder, in the two forms that SDXL uses (with and without a projection)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl import layers, params
from easel_worker.sdxl.attention import KeyValue, attend, merge_heads, split_heads
from easel_worker.sdxl.config_text import TextConfig
from easel_worker.sdxl.params import Params, ParamTree

PREFIX = "text_model."
LEGACY_EOS_ID = 2
"""Old configs say 2 for a vocabulary in which the end of text is the highest id in the text."""


class TextOutput(NamedTuple):
    """What an encoder tells about a prompt.

    Attributes:
        hidden_states: [layers + 1, B, tokens, hidden], the embeddings and each layer's output,
            none of them through the final norm.
        pooled: [B, projection or hidden], the end-of-text token's final state.
    """

    hidden_states: Array
    pooled: Array


def declare(config: TextConfig) -> ParamTree:
    """The encoder's parameters."""
    hidden = config.hidden
    tree: ParamTree = {
        "token_embedding": params.embedding(
            f"{PREFIX}embeddings.token_embedding", config.vocabulary, hidden
        ),
        "position_embedding": params.embedding(
            f"{PREFIX}embeddings.position_embedding", config.positions, hidden
        ),
        "layers": [
            _declare_layer(f"{PREFIX}encoder.layers.{i}", config) for i in range(config.layers)
        ],
        "final_norm": params.norm(f"{PREFIX}final_layer_norm", hidden),
    }
    if config.projection is None:
        # transformers 5 writes an encoder without a projection without the prefix.
        return params.with_aliases(tree, lambda name: name.removeprefix(PREFIX))
    tree["projection"] = params.linear("text_projection", hidden, config.projection, bias=False)
    return tree


def _declare_layer(name: str, config: TextConfig) -> ParamTree:
    hidden, wide = config.hidden, config.intermediate
    return {
        "norm1": params.norm(f"{name}.layer_norm1", hidden),
        "q": params.linear(f"{name}.self_attn.q_proj", hidden, hidden),
        "k": params.linear(f"{name}.self_attn.k_proj", hidden, hidden),
        "v": params.linear(f"{name}.self_attn.v_proj", hidden, hidden),
        "out": params.linear(f"{name}.self_attn.out_proj", hidden, hidden),
        "norm2": params.norm(f"{name}.layer_norm2", hidden),
        "fc1": params.linear(f"{name}.mlp.fc1", hidden, wide),
        "fc2": params.linear(f"{name}.mlp.fc2", wide, hidden),
    }


def apply(tree: Params, config: TextConfig, ids: Array) -> TextOutput:
    """Encode prompts.

    Args:
        tree: parameters.
        config: their configuration.
        ids: token ids [B, tokens], int32, at most `config.positions` tokens.

    https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/clip/modeling_clip.py#L504
    """
    tokens = ids.shape[1]
    with jax.named_scope("embed"):
        positions = tree["position_embedding"]["weight"][:tokens]
        x = tree["token_embedding"]["weight"][ids] + positions
    mask = jnp.tril(jnp.ones((tokens, tokens), dtype=bool))
    states = [x]
    for i, layer in enumerate(tree["layers"]):
        with jax.named_scope(f"layer_{i}"):
            states.append(_layer(layer, config, states[-1], mask))
    with jax.named_scope("pool"):
        last = layers.layer_norm(tree["final_norm"], states[-1], eps=config.norm_eps)
        pooled = last[jnp.arange(ids.shape[0]), _end_of_text(config, ids)]
        if "projection" in tree:
            pooled = layers.linear(tree["projection"], pooled)
    return TextOutput(jnp.stack(states), pooled)


def _layer(tree: Params, config: TextConfig, x: Array, mask: Array) -> Array:
    """x [B, tokens, hidden] → the same shape; each token sees itself and those before it."""
    normal = layers.layer_norm(tree["norm1"], x, eps=config.norm_eps)
    query, key, value = (
        split_heads(layers.linear(tree[name], normal), config.heads) for name in ("q", "k", "v")
    )
    attended = merge_heads(attend(query, KeyValue(key, value), mask=mask))
    x = x + layers.linear(tree["out"], attended)
    normal = layers.layer_norm(tree["norm2"], x, eps=config.norm_eps)
    activation = {"gelu": layers.gelu, "quick_gelu": layers.quick_gelu}[config.activation]
    return x + layers.linear(tree["fc2"], activation(layers.linear(tree["fc1"], normal)))


def _end_of_text(config: TextConfig, ids: Array) -> Array:
    """The position of the end-of-text token in each row of ids [B, tokens] → [B].

    https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/clip/modeling_clip.py#L552
    """
    if config.eos_token_id == LEGACY_EOS_ID:
        return jnp.argmax(ids, axis=-1)
    return jnp.argmax(ids == config.eos_token_id, axis=-1)
