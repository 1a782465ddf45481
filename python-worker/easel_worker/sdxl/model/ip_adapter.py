"""IP-Adapter: a picture's tokens, and the keys and values that the UNet attends to beside them.

The tensors have their names in the files of h94/IP-Adapter.
"""

from dataclasses import dataclass, field
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl.model.attention import Attend, KeyValue, merge_heads, split_heads
from easel_worker.sdxl.model.config import UNetConfig
from easel_worker.sdxl.model.layers import LayerNorm, Linear, gelu
from easel_worker.sdxl.model.params import STATIC, Init, Layout, layer, tensor
from easel_worker.sdxl.model.unet import PromptContext
from easel_worker.sdxl.model.vision_encoder import VisionEncoder

NORM_EPS = 1e-5
HEAD = 64
"""Features of a resampler's head."""

WIDER = 4
"""How many times a resampler's feed-forward layer is as wide as its tokens."""


@dataclass(frozen=True)
class PlainShape:
    """Of a projection of the encoder's projected output.

    Attributes:
        tokens: how many it makes.
        features: of the encoder's output.
    """

    tokens: int
    features: int


@dataclass(frozen=True)
class ResamplerShape:
    """Of a resampler, which reads the encoder's tokens: IP-Adapter Plus.

    Attributes:
        tokens: how many it makes.
        features: of the encoder's tokens.
        hidden: features of its own tokens.
        heads: of its attention.
        layers: how many it has.
    """

    tokens: int
    features: int
    hidden: int
    heads: int
    layers: int


Shape = PlainShape | ResamplerShape


@layer
class ImageProjection:
    """Makes tokens of the encoder's projected output."""

    proj: Linear
    norm: LayerNorm
    tokens: int = field(metadata=STATIC)

    @classmethod
    def declare(cls, shape: PlainShape, context: int) -> Self:
        """Declare the projection to tokens of `context` features."""
        return cls(
            Linear.declare("image_proj.proj", shape.features, shape.tokens * context),
            LayerNorm.declare("image_proj.norm", context, eps=NORM_EPS),
            shape.tokens,
        )

    def __call__(self, embeds: Array) -> Array:
        """embeds [B, features] → [B, tokens, context].

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/embeddings.py#L1293
        """
        return self.norm(self.proj(embeds).reshape(len(embeds), self.tokens, -1))

    def both(self, encoder: VisionEncoder, pixels: Array) -> Array:
        """See `IpAdapter.tokens`. The negative is what zeros are projected to."""
        embeds = encoder(pixels[None]).embeds
        return self(jnp.concatenate([jnp.zeros_like(embeds), embeds]))


@layer
class ResamplerLayer:
    """Attention from the resampler's tokens to the encoder's, and a feed-forward layer."""

    norm1: LayerNorm
    norm2: LayerNorm
    to_q: Linear
    to_kv: Linear
    to_out: Linear
    norm3: LayerNorm
    ff_in: Linear
    ff_out: Linear
    heads: int = field(metadata=STATIC)
    attend: Attend = Attend()

    @classmethod
    def declare(cls, name: str, shape: ResamplerShape) -> Self:
        """Declare a layer of a checkpoint."""
        hidden, inner = shape.hidden, shape.heads * HEAD

        def norm(leaf: str) -> LayerNorm:
            return LayerNorm.declare(f"{name}.{leaf}", hidden, eps=NORM_EPS)

        def linear(leaf: str, inputs: int, outputs: int) -> Linear:
            return Linear.declare(f"{name}.{leaf}", inputs, outputs, bias=False)

        return cls(
            norm1=norm("0.norm1"),
            norm2=norm("0.norm2"),
            to_q=linear("0.to_q", hidden, inner),
            to_kv=linear("0.to_kv", hidden, 2 * inner),
            to_out=linear("0.to_out", inner, hidden),
            norm3=norm("1.0"),
            ff_in=linear("1.1", hidden, WIDER * hidden),
            ff_out=linear("1.3", WIDER * hidden, hidden),
            heads=shape.heads,
        )

    def __call__(self, x: Array, picture: Array) -> Array:
        """x [B, tokens, hidden] → the same shape, for the picture's tokens [B, more, hidden].

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/embeddings.py#L2010
        """
        own = self.norm2(x)
        seen = self.to_kv(jnp.concatenate([self.norm1(picture), own], axis=1))
        key, value = (split_heads(each, self.heads) for each in jnp.split(seen, 2, axis=-1))
        attended = self.attend(split_heads(self.to_q(own), self.heads), KeyValue(key, value))
        x = x + self.to_out(merge_heads(attended))
        return x + self.ff_out(gelu(self.ff_in(self.norm3(x))))


@layer
class Resampler:
    """Makes tokens of the tokens that the encoder has before its last layer."""

    latents: Array
    proj_in: Linear
    layers: tuple[ResamplerLayer, ...]
    proj_out: Linear
    norm_out: LayerNorm

    @classmethod
    def declare(cls, shape: ResamplerShape, context: int) -> Self:
        """Declare the resampler to tokens of `context` features."""
        stored = (1, shape.tokens, shape.hidden)
        return cls(
            latents=tensor("image_proj.latents", stored, Layout.SAME, Init.NORMAL),
            proj_in=Linear.declare("image_proj.proj_in", shape.features, shape.hidden),
            layers=tuple(
                ResamplerLayer.declare(f"image_proj.layers.{i}", shape) for i in range(shape.layers)
            ),
            proj_out=Linear.declare("image_proj.proj_out", shape.hidden, context),
            norm_out=LayerNorm.declare("image_proj.norm_out", context, eps=NORM_EPS),
        )

    def __call__(self, states: Array) -> Array:
        """The encoder's tokens [B, more, features] → [B, tokens, context].

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/embeddings.py#L2058
        """
        picture = self.proj_in(states)
        x = jnp.broadcast_to(self.latents, (len(states), *self.latents.shape[1:]))
        for i, each in enumerate(self.layers):
            with jax.named_scope(f"layer_{i}"):
                x = each(x, picture)
        return self.norm_out(self.proj_out(x))

    def both(self, encoder: VisionEncoder, pixels: Array) -> Array:
        """See `IpAdapter.tokens`. The negative is what a picture of zeros is resampled to."""
        return self(encoder(jnp.stack([jnp.zeros_like(pixels), pixels])).before_last)


@layer
class ImageKeyValue:
    """The linear layers from a picture's tokens to keys and values of one cross attention."""

    to_k: Linear
    to_v: Linear
    heads: int = field(metadata=STATIC)

    @classmethod
    def declare(cls, name: str, features: int, context: int, heads: int) -> Self:
        """Declare the layers for attention from `features` channels."""
        return cls(
            Linear.declare(f"{name}.to_k_ip", context, features, bias=False),
            Linear.declare(f"{name}.to_v_ip", context, features, bias=False),
            heads,
        )

    def __call__(self, tokens: Array, scale: Array) -> KeyValue:
        """tokens [B, tokens, context] → keys, and values times scale."""
        value = self.to_v(tokens) * scale.astype(tokens.dtype)
        return KeyValue(split_heads(self.to_k(tokens), self.heads), split_heads(value, self.heads))


@layer
class IpAdapter:
    """A whole adapter. `cross` has an `ImageKeyValue` in place of each cross attention."""

    projection: ImageProjection | Resampler
    cross: Any

    @classmethod
    def declare(cls, shape: Shape, config: UNetConfig) -> Self:
        """Declare the adapter of a checkpoint for this UNet.

        The files number the UNet's attentions in diffusers' order: down, up, then the middle. Self
        attentions have the even numbers.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/loaders/unet.py#L626
        """
        numbers = iter(range(1, 1 << 30, 2))

        def level(index: int, depths: tuple[int, ...]) -> list[list[ImageKeyValue]]:
            features, heads = config.channels[index], config.heads[index]
            return [
                [
                    ImageKeyValue.declare(
                        f"ip_adapter.{next(numbers)}", features, config.context, heads
                    )
                    for _ in range(depth)
                ]
                for depth in depths
            ]

        down = [level(i, depths) for i, depths in enumerate(config.down_transformers)]
        up = [level(i, depths) for i, depths in reversed([*enumerate(config.up_transformers)])]
        middle = level(len(config.channels) - 1, config.mid_transformers)
        projection: ImageProjection | Resampler
        if isinstance(shape, PlainShape):
            projection = ImageProjection.declare(shape, config.context)
        else:
            projection = Resampler.declare(shape, config.context)
        return cls(projection, (down, middle, up[::-1]))

    def tokens(self, encoder: VisionEncoder, pixels: Array) -> Array:
        """The tokens of a picture, those of the negative first: [2, tokens, context].

        Args:
            encoder: reads the picture.
            pixels: normalised, [side, side, 3], float32.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl.py#L524
        """
        with jax.named_scope("image_prompt"):
            return self.projection.both(encoder, pixels)

    def project(self, tokens: Array, scale: Array) -> PromptContext:
        """The keys and values of a picture's tokens: the same at every step.

        Args:
            tokens: [B, tokens, context].
            scale: of the picture's attention, a number. It multiplies the values, which is the same
                as multiplying what the attention makes of them.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/attention_processor.py#L4605
        """

        def keys(each: ImageKeyValue) -> KeyValue:
            return each(tokens, scale)

        def is_leaf(node: object) -> bool:
            return isinstance(node, ImageKeyValue)

        with jax.named_scope("project_image"):
            return PromptContext(*jax.tree.map(keys, self.cross, is_leaf=is_leaf))
