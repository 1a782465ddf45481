"""The transformer layer that CLIP's text encoders and its vision encoder are made of."""

from dataclasses import field
from typing import Self

from jax import Array

from easel_worker.sdxl.model.attention import Attend, KeyValue, merge_heads, split_heads
from easel_worker.sdxl.model.config import TextConfig, VisionConfig
from easel_worker.sdxl.model.layers import LayerNorm, Linear, gelu, quick_gelu
from easel_worker.sdxl.model.params import STATIC, layer

ACTIVATIONS = {"gelu": gelu, "quick_gelu": quick_gelu}


@layer
class ClipLayer:
    """Self attention and a feed-forward layer, both residual."""

    norm1: LayerNorm
    q: Linear
    k: Linear
    v: Linear
    out: Linear
    norm2: LayerNorm
    fc1: Linear
    fc2: Linear
    heads: int = field(metadata=STATIC)
    activation: str = field(metadata=STATIC)
    attend: Attend = Attend()

    @classmethod
    def declare(cls, name: str, config: TextConfig | VisionConfig) -> Self:
        """Declare a layer of a checkpoint."""
        hidden, wide = config.hidden, config.intermediate

        def norm(leaf: str) -> LayerNorm:
            return LayerNorm.declare(f"{name}.{leaf}", hidden, eps=config.norm_eps)

        return cls(
            norm1=norm("layer_norm1"),
            q=Linear.declare(f"{name}.self_attn.q_proj", hidden, hidden),
            k=Linear.declare(f"{name}.self_attn.k_proj", hidden, hidden),
            v=Linear.declare(f"{name}.self_attn.v_proj", hidden, hidden),
            out=Linear.declare(f"{name}.self_attn.out_proj", hidden, hidden),
            norm2=norm("layer_norm2"),
            fc1=Linear.declare(f"{name}.mlp.fc1", hidden, wide),
            fc2=Linear.declare(f"{name}.mlp.fc2", wide, hidden),
            heads=config.heads,
            activation=config.activation,
        )

    def __call__(self, x: Array, mask: Array | None = None) -> Array:
        """x [B, tokens, hidden] → the same shape. mask [tokens, tokens], see `Attend`.

        https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/clip/modeling_clip.py#L353
        """
        normal = self.norm1(x)
        query, key, value = (
            split_heads(linear(normal), self.heads) for linear in (self.q, self.k, self.v)
        )
        x = x + self.out(merge_heads(self.attend(query, KeyValue(key, value), mask=mask)))
        wide = ACTIVATIONS[self.activation](self.fc1(self.norm2(x)))
        return x + self.fc2(wide)
