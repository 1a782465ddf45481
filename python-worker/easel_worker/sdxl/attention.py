"""Attention, and the transformer that mixes an image's tokens with the prompt's.

Keys and values of cross attention depend on the prompt alone, so they are made by functions of
their own (`project_context`): a sampler may compute them once per prompt instead of at each step.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl import layers, params, token_layers
from easel_worker.sdxl.kernels import attention as kernel
from easel_worker.sdxl.methods import PLAIN, Methods
from easel_worker.sdxl.params import Params, ParamTree

TRANSFORMER_GROUP_NORM_EPS = 1e-6
LAYER_NORM_EPS = 1e-5

BlockContext = list["KeyValue"]
"""Keys and values for each transformer block of one `transformer`."""


class KeyValue(NamedTuple):
    """Keys and values, [B, tokens, heads, features] each."""

    key: Array
    value: Array


def split_heads(x: Array, heads: int) -> Array:
    """[B, tokens, heads · features] → [B, tokens, heads, features]."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def merge_heads(x: Array) -> Array:
    """[B, tokens, heads, features] → [B, tokens, heads · features]."""
    return x.reshape(*x.shape[:-2], -1)


def attend(
    query: Array, kv: KeyValue, *, mask: Array | None = None, methods: Methods = PLAIN
) -> Array:
    """Scaled dot-product attention with a float32 softmax.

    Args:
        query: [B, tokens, heads, features].
        kv: keys and values, of as many heads.
        mask: [tokens, kv tokens], True where attention is allowed; None allows all.
        methods: how.

    Returns:
        [B, tokens, heads, features].
    """
    if methods.attention_kernel and mask is None:
        q, k, v = (merge_heads(each) for each in (query, *kv))
        heads = query.shape[2]
        if kernel.fits(q, k, heads):
            attended = kernel.attend(q, k, v, heads, interpret=methods.interpret)
            return attended.reshape(query.shape)
    exact = layers.precision(query.dtype)
    scores = jnp.einsum(
        "bqhd,bkhd->bhqk", query, kv.key, precision=exact, preferred_element_type=jnp.float32
    )
    scores = scores * query.shape[-1] ** -0.5
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(query.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, kv.value, precision=exact)


def declare_attention(name: str, features: int, context: int) -> ParamTree:
    """Multi-head attention of `features` channels to tokens of `context` channels."""
    return {
        "to_q": params.linear(f"{name}.to_q", features, features, bias=False),
        "to_k": params.linear(f"{name}.to_k", context, features, bias=False),
        "to_v": params.linear(f"{name}.to_v", context, features, bias=False),
        "to_out": params.linear(f"{name}.to_out.0", features, features),
    }


def project_kv(tree: Params, context: Array, heads: int) -> KeyValue:
    """Keys and values of context [B, tokens, C] for one attention layer."""
    key = split_heads(layers.linear(tree["to_k"], context), heads)
    value = split_heads(layers.linear(tree["to_v"], context), heads)
    return KeyValue(key, value)


def declare_block(name: str, features: int, context: int) -> ParamTree:
    """One block: self attention, cross attention, gated feed-forward."""
    return {
        "norm1": params.norm(f"{name}.norm1", features),
        "attn1": declare_attention(f"{name}.attn1", features, features),
        "norm2": params.norm(f"{name}.norm2", features),
        "attn2": declare_attention(f"{name}.attn2", features, context),
        "norm3": params.norm(f"{name}.norm3", features),
        "ff_in": params.linear(f"{name}.ff.net.0.proj", features, 8 * features),
        "ff_out": params.linear(f"{name}.ff.net.2", 4 * features, features),
    }


def block(tree: Params, x: Array, kv: KeyValue, methods: Methods = PLAIN) -> Array:
    """x [B, tokens, C] → [B, tokens, C], looking at the prompt's keys and values.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/attention.py#L960
    """
    heads = kv.key.shape[2]
    normed = partial(token_layers.normed, eps=LAYER_NORM_EPS, methods=methods)
    with jax.named_scope("self_attention"):
        own = tree["attn1"]
        key, value, query = (
            split_heads(each, heads)
            for each in normed(tree["norm1"], [own["to_k"], own["to_v"], own["to_q"]], x)
        )
        attended = merge_heads(attend(query, KeyValue(key, value), methods=methods))
        x = token_layers.added(own["to_out"], attended, x, methods)
    with jax.named_scope("cross_attention"):
        cross = tree["attn2"]
        [query] = normed(tree["norm2"], [cross["to_q"]], x)
        attended = merge_heads(attend(split_heads(query, heads), kv, methods=methods))
        x = token_layers.added(cross["to_out"], attended, x, methods)
    with jax.named_scope("feed_forward"):
        return token_layers.feed_forward(tree, x, eps=LAYER_NORM_EPS, methods=methods)


def declare_transformer(
    name: str, features: int, context: int, depth: int, *, linear_projection: bool
) -> ParamTree:
    """A stack of `depth` blocks between two projections, over an image of `features` channels."""
    as_conv = not linear_projection

    def projection(leaf: str) -> ParamTree:
        return params.linear(f"{name}.{leaf}", features, features, stored_as_conv=as_conv)

    blocks = [
        declare_block(f"{name}.transformer_blocks.{i}", features, context) for i in range(depth)
    ]
    return {
        "norm": params.norm(f"{name}.norm", features),
        "proj_in": projection("proj_in"),
        "blocks": blocks,
        "proj_out": projection("proj_out"),
    }


def project_context(tree: Params, context: Array, heads: int) -> BlockContext:
    """The prompt's keys and values for each block of a transformer.

    Args:
        tree: the transformer's parameters.
        context: prompt [B, tokens, C].
        heads: of its attention.
    """
    return [project_kv(each["attn2"], context, heads) for each in tree["blocks"]]


def transformer(
    tree: Params, image: Array, context: BlockContext, *, groups: int, methods: Methods = PLAIN
) -> Array:
    """image [B, H, W, C] → [B, H, W, C], with its pixels as tokens.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/transformers/transformer_2d.py#L324
    """
    eps = TRANSFORMER_GROUP_NORM_EPS
    x = layers.group_norm(tree["norm"], image, groups=groups, eps=eps, methods=methods)
    x = x.reshape(image.shape[0], -1, image.shape[-1])
    x = layers.linear(tree["proj_in"], x)
    for i, (block_params, kv) in enumerate(zip(tree["blocks"], context, strict=True)):
        with jax.named_scope(f"block_{i}"):
            x = block(block_params, x, kv, methods)
    return image + layers.linear(tree["proj_out"], x).reshape(image.shape)
