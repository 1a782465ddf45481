"""Attention, and the transformer in which image tokens attend to the prompt's tokens.

Keys and values of cross attention depend only on the prompt. `project_context` computes them
separately, so a sampler can compute them once per prompt instead of at every step.
"""

from collections.abc import Callable, Sequence
from dataclasses import field, replace
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl.kernels import attention as kernel
from easel_worker.sdxl.kernels import cross_attention
from easel_worker.sdxl.model import layers, token_layers
from easel_worker.sdxl.model.int8 import AnyLinear, Int8Linear
from easel_worker.sdxl.model.kernel_layer import KernelLayer
from easel_worker.sdxl.model.layers import GroupNorm, LayerNorm, Linear, Measured
from easel_worker.sdxl.model.params import STATIC, layer

TRANSFORMER_GROUP_NORM_EPS = 1e-6
LAYER_NORM_EPS = 1e-5

_CUDNN_DTYPES = (jnp.bfloat16, jnp.float16)
_CUDNN_FEATURES = 128
"""The most features of a head that cuDNN supports on every NVIDIA GPU since Ampere."""

_MOST_SCORES = 1 << 26
"""256 MiB in float32: the VAE's only head has 512 features and 16,384 tokens at 1024x1024."""

BlockContext = list["KeyValue | WithPicture"]
"""Keys and values for each transformer block of one `Transformer`."""

Change = Callable[[list[Linear]], Sequence[AnyLinear]]
"""Returns one replacement for each layer of a list."""


class KeyValue(NamedTuple):
    """Keys and values, [B, tokens, heads, features] each."""

    key: Array
    value: Array


class WithPicture(NamedTuple):
    """Keys and values of a prompt, and those of an IP-Adapter's picture, times its scale."""

    prompt: KeyValue
    picture: KeyValue


def split_heads(x: Array, heads: int) -> Array:
    """[B, tokens, heads · features] → [B, tokens, heads, features]."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def merge_heads(x: Array) -> Array:
    """[B, tokens, heads, features] → [B, tokens, heads · features]."""
    return x.reshape(*x.shape[:-2], -1)


@layer
class Attend(KernelLayer):
    """Scaled dot-product attention with a float32 softmax, without parameters."""

    def __call__(self, query: Array, kv: KeyValue, *, mask: Array | None = None) -> Array:
        """Attend from each query to the keys and values.

        Args:
            query: [B, tokens, heads, features].
            kv: keys and values with the same number of heads.
            mask: [tokens, kv tokens], True where attention is allowed; None allows all.

        Returns:
            [B, tokens, heads, features].
        """
        options = self.kernel_options
        if options.cudnn_attention and mask is None:
            return _attend_on_cuda(query, kv)
        if options.attention_kernel and mask is None:
            q, k, v = (merge_heads(each) for each in (query, *kv))
            heads = query.shape[2]
            if kernel.fits(q, k, heads):
                attended = kernel.attend(q, k, v, heads, interpret=options.interpret)
                return attended.reshape(query.shape)
        return _attend(query, kv, mask)


def _attend(query: Array, kv: KeyValue, mask: Array | None = None) -> Array:
    """`Attend` in plain JAX."""
    exact = layers.precision(query.dtype)
    scores = jnp.einsum(
        "bqhd,bkhd->bhqk", query, kv.key, precision=exact, preferred_element_type=jnp.float32
    )
    scores = scores * query.shape[-1] ** -0.5
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(query.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, kv.value, precision=exact)


def _attend_on_cuda(query: Array, kv: KeyValue) -> Array:
    """`Attend` by cuDNN where it supports the shapes, else with at most `_MOST_SCORES` at once."""
    features = query.shape[-1]
    if query.dtype in _CUDNN_DTYPES and features <= _CUDNN_FEATURES and features % 8 == 0:
        return jax.nn.dot_product_attention(query, *kv, implementation="cudnn")
    batch, tokens, heads, _ = query.shape
    at_once = max(_MOST_SCORES // (batch * heads * kv.key.shape[1]), 1)
    chunks = next(count for count in range(1, tokens + 1) if tokens <= at_once * count)
    if chunks == 1 or tokens % chunks:
        return _attend(query, kv)
    parts = query.reshape(batch, chunks, tokens // chunks, heads, features).swapaxes(0, 1)
    attended: Array = jax.lax.map(lambda part: _attend(part, kv), parts)
    return attended.swapaxes(0, 1).reshape(query.shape)


@layer
class Attention:
    """The linear layers of multi-head attention."""

    to_q: AnyLinear
    to_k: AnyLinear
    to_v: AnyLinear
    to_out: AnyLinear
    heads: int = field(metadata=STATIC)
    attend: Attend = Attend()

    @classmethod
    def declare(cls, name: str, features: int, context: int, heads: int) -> Self:
        """Declare attention from `features` channels to tokens of `context` channels."""
        return cls(
            to_q=Linear.declare(f"{name}.to_q", features, features, bias=False),
            to_k=Linear.declare(f"{name}.to_k", context, features, bias=False),
            to_v=Linear.declare(f"{name}.to_v", context, features, bias=False),
            to_out=Linear.declare(f"{name}.to_out.0", features, features),
            heads=heads,
        )

    def project_context(self, context: Array) -> KeyValue:
        """The keys and values of a context [B, tokens, C]."""
        key = split_heads(self.to_k(context), self.heads)
        value = split_heads(self.to_v(context), self.heads)
        return KeyValue(key, value)


@layer
class Block:
    """Self attention, cross attention and a gated feed-forward layer."""

    norm1: LayerNorm
    attn1: Attention
    norm2: LayerNorm
    attn2: Attention
    norm3: LayerNorm
    ff_in: AnyLinear
    ff_out: AnyLinear

    @classmethod
    def declare(cls, name: str, features: int, context: int, heads: int) -> Self:
        """Declare a block: image tokens have `features` channels, prompt tokens `context`."""

        def norm(leaf: str) -> LayerNorm:
            return LayerNorm.declare(f"{name}.{leaf}", features, eps=LAYER_NORM_EPS)

        return cls(
            norm1=norm("norm1"),
            attn1=Attention.declare(f"{name}.attn1", features, features, heads),
            norm2=norm("norm2"),
            attn2=Attention.declare(f"{name}.attn2", features, context, heads),
            norm3=norm("norm3"),
            ff_in=Linear.declare(f"{name}.ff.net.0.proj", features, 8 * features),
            ff_out=Linear.declare(f"{name}.ff.net.2", 4 * features, features),
        )

    def __call__(self, x: Array, kv: KeyValue | WithPicture) -> Array:
        """x [B, tokens, C] → [B, tokens, C], attending to the prompt's keys and values.

        With a picture's, the results of both attentions are added.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/attention.py#L960
        """
        with jax.named_scope("self_attention"):
            own = self.attn1
            key, value, query = (
                split_heads(each, own.heads)
                for each in token_layers.normed(self.norm1, [own.to_k, own.to_v, own.to_q], x)
            )
            attended = merge_heads(own.attend(query, KeyValue(key, value)))
        if isinstance(kv, KeyValue) and self._at_once(x, kv):
            with jax.named_scope("cross_attention"):
                x = self._by_kernel(x, attended, kv)
        else:
            x = self._one_by_one(x, attended, kv)
        with jax.named_scope("feed_forward"):
            return token_layers.feed_forward(self.norm3, self.ff_in, self.ff_out, x)

    def _one_by_one(self, x: Array, attended: Array, kv: KeyValue | WithPicture) -> Array:
        """The end of self attention, and cross attention."""
        with jax.named_scope("self_attention"):
            x = token_layers.added(self.attn1.to_out, attended, x)
        with jax.named_scope("cross_attention"):
            cross = self.attn2
            [query] = token_layers.normed(self.norm2, [cross.to_q], x)
            query = split_heads(query, cross.heads)
            if isinstance(kv, WithPicture):
                both = cross.attend(query, kv.prompt) + cross.attend(query, kv.picture)
                attended = merge_heads(both)
            else:
                attended = merge_heads(cross.attend(query, kv))
            return token_layers.added(cross.to_out, attended, x)

    def _at_once(self, x: Array, kv: KeyValue) -> bool:
        """Whether one kernel can do what `_one_by_one` does."""
        linears = (self.attn1.to_out, self.attn2.to_q, self.attn2.to_out)
        options, heads = self.attn2.attend.kernel_options, self.attn2.heads
        # A subclass does more than multiply.
        alike = all(type(each) is Linear for each in linears) or (
            options.linear_kernel and all(isinstance(each, Int8Linear) for each in linears)
        )
        fits = cross_attention.fits(x, merge_heads(kv.key), heads)
        return options.attention_kernel and alike and fits

    def _by_kernel(self, x: Array, attended: Array, kv: KeyValue) -> Array:
        """Like `_one_by_one`, where `_at_once` is true."""
        own, cross = self.attn1, self.attn2
        key, value = map(merge_heads, kv)
        return cross_attention.attend(
            *(x, attended),
            cross_attention.Layers(own.to_out, self.norm2, cross.to_q, cross.to_out),
            *(key, value),
            interpret=cross.attend.kernel_options.interpret,
        )

    def replaced(self, change: Change) -> Self:
        """Replace the linear layers that run at every step (all but cross attention's to_k, to_v).

        Args:
            change: called once for each input, with the layers that share it.

        Raises:
            TypeError: a layer is no plain `Linear`, because it was replaced before.
        """
        own, cross = self.attn1, self.attn2
        to_q, to_k, to_v = change(_plain(own.to_q, own.to_k, own.to_v))
        [own_out] = change(_plain(own.to_out))
        [cross_q] = change(_plain(cross.to_q))
        [cross_out] = change(_plain(cross.to_out))
        [ff_in] = change(_plain(self.ff_in))
        [ff_out] = change(_plain(self.ff_out))
        return replace(
            self,
            attn1=replace(own, to_q=to_q, to_k=to_k, to_v=to_v, to_out=own_out),
            attn2=replace(cross, to_q=cross_q, to_out=cross_out),
            ff_in=ff_in,
            ff_out=ff_out,
        )


def _plain(*linears: AnyLinear) -> list[Linear]:
    plain = [each for each in linears if isinstance(each, Linear)]
    if len(plain) < len(linears):
        raise TypeError("these layers are already quantised")
    return plain


@layer
class Transformer:
    """A stack of blocks between two projections. An image's pixels are its tokens."""

    norm: GroupNorm
    proj_in: Linear
    blocks: tuple[Block, ...]
    proj_out: Linear

    @classmethod
    def declare(
        cls,
        name: str,
        features: int,
        context: int,
        *,
        depth: int,
        heads: int,
        groups: int,
        linear_projection: bool,
    ) -> Self:
        """Declare a transformer of a checkpoint.

        Args:
            name: its name in the checkpoint.
            features: channels of the image.
            context: channels of the prompt.
            depth: number of blocks.
            heads: number of attention heads.
            groups: groups of the norm.
            linear_projection: the checkpoint stores the projections as linear layers; otherwise
                as 1×1 convolutions.
        """

        def projection(leaf: str) -> Linear:
            as_conv = not linear_projection
            return Linear.declare(f"{name}.{leaf}", features, features, stored_as_conv=as_conv)

        eps = TRANSFORMER_GROUP_NORM_EPS
        return cls(
            norm=GroupNorm.declare(f"{name}.norm", features, groups=groups, eps=eps),
            proj_in=projection("proj_in"),
            blocks=tuple(
                Block.declare(f"{name}.transformer_blocks.{i}", features, context, heads)
                for i in range(depth)
            ),
            proj_out=projection("proj_out"),
        )

    def project_context(self, context: Array) -> BlockContext:
        """The keys and values of a prompt [B, tokens, C], for each block."""
        return [block.attn2.project_context(context) for block in self.blocks]

    def __call__(self, measured: Measured, context: BlockContext) -> Array:
        """An image [B, H, W, C], which may be measured → [B, H, W, C].

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/transformers/transformer_2d.py#L324
        """
        image = measured.image
        x = self.norm.of(measured).reshape(image.shape[0], -1, image.shape[-1])
        x = self.proj_in(x)
        for i, (block, kv) in enumerate(zip(self.blocks, context, strict=True)):
            with jax.named_scope(f"block_{i}"):
                x = block(x, kv)
        return image + self.proj_out(x).reshape(image.shape)
