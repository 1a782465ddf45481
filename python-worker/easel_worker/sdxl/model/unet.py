"""SDXL's UNet: predicts the noise (or velocity) of latents from time, prompt and sizes."""

from dataclasses import field, replace
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from easel_worker.sdxl.model.additions import NO_ADDITIONS, Additions
from easel_worker.sdxl.model.attention import KeyValue, WithPicture
from easel_worker.sdxl.model.config import UNetConfig
from easel_worker.sdxl.model.image_layers import norm_silu_conv
from easel_worker.sdxl.model.layers import (
    Conv,
    GroupNorm,
    Linear,
    Measured,
    sinusoid,
)
from easel_worker.sdxl.model.params import STATIC, layer
from easel_worker.sdxl.model.unet_blocks import Down, LevelContext, Mid, Up


class Whole(NamedTuple):
    """The output of the whole UNet, and its deep feature.

    The deep feature is the input of the top level on the way up, after the upsampling
    [B, h, w, channels below]. `UNet.top` uses it instead of computing the levels below.
    """

    output: Array
    deep: Array


class PromptContext(NamedTuple):
    """The prompt's keys and values for every cross attention, from full resolution down."""

    down: list[LevelContext]
    mid: LevelContext
    up: list[LevelContext]

    def with_picture(self, picture: "PromptContext") -> "PromptContext":
        """The same with the keys and values of an IP-Adapter's picture for each attention."""

        def is_leaf(node: object) -> bool:
            return isinstance(node, KeyValue)

        both: PromptContext = jax.tree.map(WithPicture, self, picture, is_leaf=is_leaf)
        return both


def embed_guidance(guidance: Array, features: int) -> Array:
    """Sines and cosines of a guidance scale [B] → [B, features], float32.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl.py#L758
    """
    half = features // 2
    # On the host, in torch's order of operations: the angle is thousands of radians.
    step = np.log(np.float32(10000.0)) / np.float32(half - 1)
    frequencies = np.exp(np.arange(half, dtype=np.float32) * -step)
    angles = ((guidance - 1.0) * 1000.0)[:, None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


@layer
class Conditioning:
    """Two linear layers with a silu between them, which embed a condition.

    `cond_proj` adds a second condition, the guidance scale, to the first layer's input.
    """

    linear_1: Linear
    linear_2: Linear
    cond_proj: Linear | None = None

    @classmethod
    def declare(
        cls, name: str, inputs: int, features: int, second_inputs: int | None = None
    ) -> Self:
        """Declare the layers from `inputs` features to `features`.

        `second_inputs` are the features of the second condition; None for a model without it.
        """
        cond_proj = None
        if second_inputs is not None:
            cond_proj = Linear.declare(f"{name}.cond_proj", second_inputs, inputs, bias=False)
        return cls(
            Linear.declare(f"{name}.linear_1", inputs, features),
            Linear.declare(f"{name}.linear_2", features, features),
            cond_proj,
        )

    def __call__(self, x: Array, second: Array | None = None) -> Array:
        """x [B, in] and a second condition [B, second in], if there is one → [B, time features].

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/embeddings.py#L1060
        """
        if self.cond_proj is not None and second is not None:
            x = x + self.cond_proj(second)
        return self.linear_2(jax.nn.silu(self.linear_1(x)))


def embed_conditions(
    config: UNetConfig,
    time_embedding: Conditioning,
    added_embedding: Conditioning | None,
    *,
    timestep: Array,
    pooled: Array,
    time_ids: Array,
    guidance: Array | None = None,
) -> Array:
    """silu of the embedding of time, guidance, pooled prompt and sizes: [B, time features].

    Args:
        config: the UNet's.
        time_embedding: its layers for the time and the guidance.
        added_embedding: its layers for pooled prompt and sizes; None for a net without them.
        timestep: [B].
        pooled: [B, features].
        time_ids: [B, 6].
        guidance: [B], for a config with `guidance_features`.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/unets/unet_2d_condition.py#L890
    """
    dtype = time_embedding.linear_1.weight.dtype

    def embedded(values: Array, features: int) -> Array:
        made = sinusoid(
            values,
            features=features,
            flip_sin_to_cos=config.flip_sin_to_cos,
            freq_shift=config.freq_shift,
        )
        return made.astype(dtype)

    with jax.named_scope("embed_conditions"):
        time = embedded(timestep, config.channels[0])
        added = None
        if added_embedding is not None:
            sizes = embedded(time_ids, config.time_id_features)
            sizes = sizes.reshape(sizes.shape[0], -1)
            added = jnp.concatenate([pooled.astype(dtype), sizes], axis=-1)
        second = None
        if guidance is not None and config.guidance_features is not None:
            second = embed_guidance(guidance, config.guidance_features).astype(dtype)
        embedding = time_embedding(time, second)
        if added_embedding is not None and added is not None:
            embedding = embedding + added_embedding(added)
    return jax.nn.silu(embedding)


@layer
class UNet:
    """The whole UNet. `down` and `up` list the levels from full resolution down."""

    conv_in: Conv
    time_embedding: Conditioning
    added_embedding: Conditioning
    down: tuple[Down, ...]
    mid: Mid
    up: tuple[Up, ...]
    norm_out: GroupNorm
    conv_out: Conv
    config: UNetConfig = field(metadata=STATIC)

    @classmethod
    def declare(cls, config: UNetConfig) -> Self:
        """Declare the UNet of a checkpoint with this config."""
        first, time = config.channels[0], config.time_features
        levels = range(len(config.channels))
        groups, eps = config.norm_groups, config.norm_eps
        return cls(
            conv_in=Conv.declare("conv_in", config.in_channels, first),
            time_embedding=Conditioning.declare(
                "time_embedding", first, time, config.guidance_features
            ),
            added_embedding=Conditioning.declare("add_embedding", config.added_features, time),
            down=tuple(Down.declare(config, level) for level in levels),
            mid=Mid.declare(config),
            up=tuple(Up.declare(config, level) for level in levels),
            norm_out=GroupNorm.declare("conv_norm_out", first, groups=groups, eps=eps),
            conv_out=Conv.declare("conv_out", first, config.out_channels),
            config=config,
        )

    @property
    def dtype(self) -> DTypeLike:
        """The dtype of the parameters."""
        return self.conv_in.weight.dtype

    @property
    def maps_devices(self) -> bool:
        """Whether it calls `shard_map` itself, so that it must not be called within one."""
        return False

    def __call__(
        self,
        sample: Array,
        timestep: Array,
        context: Array,
        pooled: Array,
        time_ids: Array,
        *,
        guidance: Array | None = None,
    ) -> Array:
        """The prediction for noisy latents, in the dtype of the parameters.

        Args:
            sample: latents [B, h, w, in_channels], scaled by the sampler.
            timestep: [B], float32, in training steps (0 to 999).
            context: prompt [B, tokens, context].
            pooled: pooled prompt [B, projection of text_encoder_2].
            time_ids: original height and width, crop top and left, target height and width [B, 6].
            guidance: guidance scale [B], float32, for a config with `guidance_features`.

        Returns:
            [B, h, w, out_channels].

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/unets/unet_2d_condition.py#L979
        """
        prompt = self.project_context(context)
        return self.whole(sample, timestep, prompt, pooled, time_ids, guidance=guidance).output

    def project_context(self, context: Array) -> PromptContext:
        """The keys and values of a prompt [B, tokens, context]: the same at every step."""
        with jax.named_scope("project_context"):
            context = context.astype(self.dtype)
            return PromptContext(
                down=[level.project_context(context) for level in self.down],
                mid=self.mid.project_context(context),
                up=[level.project_context(context) for level in self.up],
            )

    def whole(
        self,
        sample: Array,
        timestep: Array,
        prompt: PromptContext,
        pooled: Array,
        time_ids: Array,
        *,
        guidance: Array | None = None,
        additions: Additions = NO_ADDITIONS,
    ) -> Whole:
        """Like a call, but takes `project_context`'s result and also returns the deep feature.

        `additions` are what pictures add.
        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/unets/unet_2d_condition.py#L1117
        """
        residuals, features = additions.residuals, additions.features or ()
        time = self._embed_conditions(timestep, pooled, time_ids, guidance)
        x = Measured(self._conv_in(sample))
        skips = [x]
        for i, down in enumerate(self.down):
            with jax.named_scope(f"down_{i}"):
                feature = features[i] if i < len(features) else None
                x, more = down(x, time, prompt.down[i], feature=feature)
            skips += more
        with jax.named_scope("mid"):
            x = self.mid(x, time, prompt.mid)
            if len(features) > len(self.down):
                x = x.plus(features[-1])
        if residuals is not None:
            skips = [skip.plus(more) for skip, more in zip(skips, residuals.skips, strict=True)]
            x = x.plus(residuals.mid)
        for i, up in reversed(list(enumerate(self.up))):
            deep = x  # after the loop: the input of the top level
            with jax.named_scope(f"up_{i}"):
                x = up(x, time, prompt.up[i], skips=skips)
        return Whole(self._conv_out(x), deep.image)

    def top(
        self,
        sample: Array,
        timestep: Array,
        prompt: PromptContext,
        pooled: Array,
        time_ids: Array,
        *,
        deep: Array,
        guidance: Array | None = None,
    ) -> Array:
        """Like `whole`, but computes only the top level, with the deep feature of an earlier step.

        For SDXL's two layers per level this is DeepCache with `cache_branch_id` 2.

        https://github.com/horseee/DeepCache/blob/d0c7bffcea29a612ee7d40bea4a28e74fad69edd/DeepCache/extension/deepcache.py#L24
        """
        time = self._embed_conditions(timestep, pooled, time_ids, guidance)
        x = Measured(self._conv_in(sample))
        # Only the levels below need the downsampled image.
        down = replace(self.down[0], downsample=None)
        with jax.named_scope("down_0"):
            _, more = down(x, time, prompt.down[0])
        with jax.named_scope("up_0"):
            x = self.up[0](Measured(deep), time, prompt.up[0], skips=[x, *more])
        return self._conv_out(x)

    def _conv_in(self, sample: Array) -> Array:
        with jax.named_scope("conv_in"):
            return self.conv_in(sample.astype(self.dtype))

    def _conv_out(self, x: Measured) -> Array:
        with jax.named_scope("conv_out"):
            return norm_silu_conv(self.norm_out, self.conv_out, x).image

    def _embed_conditions(
        self, timestep: Array, pooled: Array, time_ids: Array, guidance: Array | None
    ) -> Array:
        if self.config.guidance_features is not None and guidance is None:
            raise ValueError("this UNet takes the guidance scale as an input: pass it")
        return embed_conditions(
            self.config,
            self.time_embedding,
            self.added_embedding,
            timestep=timestep,
            pooled=pooled,
            time_ids=time_ids,
            guidance=guidance,
        )
