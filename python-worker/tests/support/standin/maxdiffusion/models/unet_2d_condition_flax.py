"""SDXL's UNet with the interface of MaxDiffusion's."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P


class Scope:
    """Reads parameters by name, or notes their shapes where there are none."""

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self.noted: dict[str, Any] = {}
        self._params = params
        self._path: list[str] = []

    @contextmanager
    def inside(self, *names: str) -> Iterator[None]:
        """Parameters are in this module while the context is open."""
        self._path += names
        yield
        del self._path[-len(names) :]

    def __call__(self, leaf: str, *shape: int) -> Array:
        """A parameter of the module."""
        given, noted = self._params, self.noted
        for name in self._path:
            given = None if given is None else given[name]
            noted = noted.setdefault(name, {})
        noted[leaf] = jax.ShapeDtypeStruct(shape, jnp.float32)
        if given is None:
            return jnp.zeros(shape)
        array: Array = given[leaf]
        assert array.shape == shape, (self._path, leaf, array.shape, shape)
        return array


def dense(scope: Scope, name: str, x: Array, outputs: int, *, bias: bool = True) -> Array:
    with scope.inside(name):
        y = x @ scope("kernel", x.shape[-1], outputs)
        return y + scope("bias", outputs) if bias else y


def conv(
    scope: Scope, name: str, x: Array, outputs: int, *, side: int = 3, stride: int = 1
) -> Array:
    with scope.inside(name):
        y = lax.conv_general_dilated(
            x,
            scope("kernel", side, side, x.shape[-1], outputs),
            (stride, stride),
            ((side // 2, side // 2),) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y + scope("bias", outputs)


def norm(scope: Scope, name: str, x: Array, *, groups: int = 0, eps: float = 1e-5) -> Array:
    """Layer norm, or group norm with groups."""
    channels = x.shape[-1]
    axes: Any = -1 if groups == 0 else (1, 3)
    parts = x if groups == 0 else x.reshape(x.shape[0], -1, groups, channels // groups)
    centred = parts - parts.mean(axes, keepdims=True)
    normal = centred / jnp.sqrt(jnp.square(centred).mean(axes, keepdims=True) + eps)
    with scope.inside(name):
        return normal.reshape(x.shape) * scope("scale", channels) + scope("bias", channels)


def attention(scope: Scope, name: str, x: Array, context: Array, heads: int) -> Array:
    channels = x.shape[-1]
    with scope.inside(name):
        query, key, value = (
            dense(scope, each, given, channels, bias=False).reshape(*given.shape[:2], heads, -1)
            for each, given in (("to_q", x), ("to_k", context), ("to_v", context))
        )
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
        attended = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value)
        return dense(scope, "to_out_0", attended.reshape(x.shape), channels)


def transformer(
    scope: Scope, name: str, image: Array, context: Array, *, depth: int, heads: int, linear: bool
) -> Array:
    channels = image.shape[-1]
    project = dense if linear else partial(conv, side=1)
    with scope.inside(name):
        x = norm(scope, "norm", image, groups=32, eps=1e-6)
        x = project(scope, "proj_in", x, channels).reshape(x.shape[0], -1, channels)
        for block in range(depth):
            with scope.inside(f"transformer_blocks_{block}"):
                own = norm(scope, "norm1", x)
                x = x + attention(scope, "attn1", own, own, heads)
                x = x + attention(scope, "attn2", norm(scope, "norm2", x), context, heads)
                normal = norm(scope, "norm3", x)
                with scope.inside("ff", "net_0"):
                    both = dense(scope, "proj", normal, 8 * channels)
                wide, gate = jnp.split(both, 2, axis=-1)
                with scope.inside("ff"):
                    gated = wide * jax.nn.gelu(gate, approximate=False)
                    x = x + dense(scope, "net_2", gated, channels)
        return image + project(scope, "proj_out", x.reshape(image.shape), channels)


def resnet(scope: Scope, name: str, x: Array, time: Array, outputs: int) -> Array:
    with scope.inside(name):
        h = conv(scope, "conv1", jax.nn.silu(norm(scope, "norm1", x, groups=32)), outputs)
        h = h + dense(scope, "time_emb_proj", jax.nn.silu(time), outputs)[:, None, None]
        h = conv(scope, "conv2", jax.nn.silu(norm(scope, "norm2", h, groups=32)), outputs)
        if x.shape[-1] != outputs:
            x = conv(scope, "conv_shortcut", x, outputs, side=1)
        return x + h


def sinusoid(values: Array, features: int, *, cos_first: bool, shift: float) -> Array:
    half = features // 2
    angles = values[:, None] * jnp.exp(-jnp.log(10000.0) * jnp.arange(half) / (half - shift))
    waves = [jnp.cos(angles), jnp.sin(angles)]
    return jnp.concatenate(waves if cos_first else waves[::-1], axis=-1)


@dataclass
class FlaxUNet2DConditionModel:
    """The fields are MaxDiffusion's; those that name nothing here are ignored."""

    sample_size: int = 32
    in_channels: int = 4
    out_channels: int = 4
    down_block_types: tuple[str, ...] = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    up_block_types: tuple[str, ...] = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
    only_cross_attention: bool | tuple[bool, ...] = False
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    attention_head_dim: int | tuple[int, ...] = 8
    num_attention_heads: int | tuple[int, ...] | None = None
    cross_attention_dim: int = 1280
    dropout: float = 0.0
    use_linear_projection: bool = False
    dtype: Any = jnp.float32
    weights_dtype: Any = jnp.float32
    flip_sin_to_cos: bool = True
    freq_shift: int = 0
    use_memory_efficient_attention: bool = False
    split_head_dim: bool = False
    attention_kernel: str = "dot_product"
    flash_min_seq_length: int = 4096
    flash_block_sizes: Any = None
    mesh: Mesh | None = None
    transformer_layers_per_block: int | tuple[int, ...] = 1
    addition_embed_type: str | None = None
    addition_time_embed_dim: int | None = None
    addition_embed_type_num_heads: int = 64
    projection_class_embeddings_input_dim: int | None = None
    norm_num_groups: int = 32
    precision: lax.Precision | None = None
    quant: Any = None

    def init_weights(
        self, rng: Array, eval_only: bool = False, quantization_enabled: bool = False
    ) -> dict[str, Any]:
        """The shapes of its parameters."""
        assert eval_only
        assert not quantization_enabled
        scope = Scope()
        side, ids = self.sample_size, 6
        assert self.addition_time_embed_dim is not None
        assert self.projection_class_embeddings_input_dim is not None
        pooled = self.projection_class_embeddings_input_dim - ids * self.addition_time_embed_dim
        jax.eval_shape(
            partial(self._predict, scope),
            jnp.zeros((1, self.in_channels, side, side)),
            jnp.zeros(1),
            jnp.zeros((1, 1, self.cross_attention_dim)),
            {"text_embeds": jnp.zeros((1, pooled)), "time_ids": jnp.zeros((1, ids))},
        )
        return scope.noted

    def apply(self, variables: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Call the module with parameters, as Flax does."""
        self._variables = variables
        try:
            return self(*args, **kwargs)
        finally:
            del self._variables

    def __call__(  # noqa: PLR0917 - as in MaxDiffusion
        self,
        sample: Array,
        timesteps: Array,
        encoder_hidden_states: Array,
        added_cond_kwargs: dict[str, Array] | None = None,
        down_block_additional_residuals: Any = None,
        mid_block_additional_residual: Any = None,
        return_dict: bool = True,
        train: bool = False,
        cross_attention_kwargs: Any = None,
    ) -> tuple[Array]:
        """sample [B, channels, h, w] → a tuple with [B, channels, h, w]."""
        assert not return_dict
        assert not train
        assert added_cond_kwargs is not None
        scope = Scope(self._variables["params"])
        return (self._predict(scope, sample, timesteps, encoder_hidden_states, added_cond_kwargs),)

    def _predict(
        self, scope: Scope, sample: Array, timesteps: Array, context: Array, added: dict[str, Array]
    ) -> Array:
        channels, kinds = self.block_out_channels, self.down_block_types
        depths, heads = self.transformer_layers_per_block, self.attention_head_dim
        assert isinstance(depths, tuple)
        assert isinstance(heads, tuple)
        bottom = len(channels) - 1
        time = self._time(scope, timesteps, added)

        def attend(name: str, x: Array, level: int) -> Array:
            own: dict[str, Any] = {"depth": depths[level], "heads": heads[level]}
            x = transformer(scope, name, x, context, **own, linear=self.use_linear_projection)
            if self.mesh is None:
                return x
            # As MaxDiffusion, whose kernels are in one.
            return jax.shard_map(lambda a: a, mesh=self.mesh, in_specs=P(), out_specs=P())(x)

        x = conv(scope, "conv_in", sample.transpose(0, 2, 3, 1), channels[0])
        skips = [x]
        for level in range(bottom + 1):
            with scope.inside(f"down_blocks_{level}"):
                for i in range(self.layers_per_block):
                    x = resnet(scope, f"resnets_{i}", x, time, channels[level])
                    if kinds[level] == "CrossAttnDownBlock2D":
                        x = attend(f"attentions_{i}", x, level)
                    skips.append(x)
                if level < bottom:
                    with scope.inside("downsamplers_0"):
                        x = conv(scope, "conv", x, channels[level], stride=2)
                    skips.append(x)
        with scope.inside("mid_block"):
            x = resnet(scope, "resnets_0", x, time, channels[-1])
            x = attend("attentions_0", x, bottom)
            x = resnet(scope, "resnets_1", x, time, channels[-1])
        for block, level in enumerate(range(bottom, -1, -1)):
            with scope.inside(f"up_blocks_{block}"):
                for i in range(self.layers_per_block + 1):
                    x = jnp.concatenate([x, skips.pop()], axis=-1)
                    x = resnet(scope, f"resnets_{i}", x, time, channels[level])
                    if self.up_block_types[block] == "CrossAttnUpBlock2D":
                        x = attend(f"attentions_{i}", x, level)
                if level > 0:
                    x = x.repeat(2, axis=1).repeat(2, axis=2)
                    with scope.inside("upsamplers_0"):
                        x = conv(scope, "conv", x, channels[level])
        x = jax.nn.silu(norm(scope, "conv_norm_out", x, groups=32))
        return conv(scope, "conv_out", x, self.out_channels).transpose(0, 3, 1, 2)

    def _time(self, scope: Scope, timesteps: Array, added: dict[str, Array]) -> Array:
        first = self.block_out_channels[0]
        waves = partial(sinusoid, cos_first=self.flip_sin_to_cos, shift=self.freq_shift)
        ids = added["time_ids"]
        assert self.addition_time_embed_dim is not None
        sizes = waves(ids.ravel(), self.addition_time_embed_dim).reshape(ids.shape[0], -1)
        both = jnp.concatenate([added["text_embeds"], sizes], axis=-1)
        embedded = []
        for name, given in (("time_embedding", waves(timesteps, first)), ("add_embedding", both)):
            with scope.inside(name):
                wide = jax.nn.silu(dense(scope, "linear_1", given, 4 * first))
                embedded.append(dense(scope, "linear_2", wide, 4 * first))
        return embedded[0] + embedded[1]
