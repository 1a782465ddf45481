"""CLIP's vision encoder with its projection, which reads the pictures of IP-Adapters."""

from dataclasses import field
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array

from easel_worker.sdxl.model.clip_layer import ClipLayer
from easel_worker.sdxl.model.config import VisionConfig
from easel_worker.sdxl.model.layers import Embedding, LayerNorm, Linear, precision
from easel_worker.sdxl.model.params import STATIC, Init, Layout, layer, tensor

PREFIX = "vision_model."


class VisionOutput(NamedTuple):
    """The outputs of an encoder for pictures.

    Attributes:
        before_last: [B, tokens, hidden], the input of the last layer.
        embeds: [B, projection], the projected state of the token for the whole picture.
    """

    before_last: Array
    embeds: Array


@layer
class Patches:
    """A convolution without bias whose stride is its size: a weight [patch, patch, 3, out]."""

    weight: Array

    @classmethod
    def declare(cls, name: str, config: VisionConfig) -> Self:
        """Declare the convolution of a checkpoint."""
        stored = (config.hidden, 3, config.patch, config.patch)
        return cls(tensor(f"{name}.weight", stored, Layout.CONV, Init.NORMAL))

    def __call__(self, pixels: Array) -> Array:
        """pixels [B, H, W, 3] → [B, patches, out], row by row."""
        side, _, channels, outputs = self.weight.shape
        batch, height, width, _ = pixels.shape
        cut = pixels.reshape(batch, height // side, side, width // side, side, channels)
        patches = cut.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, side * side * channels)
        return jnp.dot(patches, self.weight.reshape(-1, outputs), precision=precision(pixels.dtype))


@layer
class VisionEncoder:
    """A whole encoder."""

    patches: Patches
    whole: Array
    position_embedding: Embedding
    first_norm: LayerNorm
    layers: tuple[ClipLayer, ...]
    final_norm: LayerNorm
    projection: Linear
    config: VisionConfig = field(metadata=STATIC)

    @classmethod
    def declare(cls, config: VisionConfig) -> Self:
        """Declare the encoder of a checkpoint with this config."""
        hidden, embeddings = config.hidden, f"{PREFIX}embeddings"

        def norm(leaf: str) -> LayerNorm:
            return LayerNorm.declare(f"{PREFIX}{leaf}", hidden, eps=config.norm_eps)

        return cls(
            patches=Patches.declare(f"{embeddings}.patch_embedding", config),
            whole=tensor(f"{embeddings}.class_embedding", (hidden,), Layout.SAME, Init.ZEROS),
            position_embedding=Embedding.declare(
                f"{embeddings}.position_embedding", config.tokens, hidden
            ),
            first_norm=norm("pre_layrnorm"),  # as the checkpoints spell it
            layers=tuple(
                ClipLayer.declare(f"{PREFIX}encoder.layers.{i}", config)
                for i in range(config.layers)
            ),
            final_norm=norm("post_layernorm"),
            projection=Linear.declare("visual_projection", hidden, config.projection, bias=False),
            config=config,
        )

    def __call__(self, pixels: Array) -> VisionOutput:
        """Encode pictures [B, side, side, 3], normalised.

        https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/clip/modeling_clip.py#L604
        """
        with jax.named_scope("embed"):
            patches = self.patches(pixels.astype(self.whole.dtype))
            whole = jnp.broadcast_to(self.whole, (len(patches), 1, self.config.hidden))
            x = jnp.concatenate([whole, patches], axis=1) + self.position_embedding.weight
            x = self.first_norm(x)
        before_last = x
        for i, each in enumerate(self.layers):
            before_last = x
            with jax.named_scope(f"layer_{i}"):
                x = each(x)
        with jax.named_scope("pool"):
            return VisionOutput(before_last, self.projection(self.final_norm(x[:, 0])))
