"""MaxDiffusion's UNet in the place of ours: see `sdxl.serving.other_unet`."""

from collections.abc import Callable
from dataclasses import field
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh
from jax.typing import DTypeLike

from easel_worker.maxdiffusion.fields import fields_of
from easel_worker.maxdiffusion.weights import check_tree, flax_tree
from easel_worker.sdxl.model.additions import NO_ADDITIONS, Additions
from easel_worker.sdxl.model.config import UNetConfig
from easel_worker.sdxl.model.params import STATIC, Param, declared, layer
from easel_worker.sdxl.model.unet import UNet, Whole

DOT_PRODUCT = "dot_product"


class MaxDiffusion:
    """Makes MaxDiffusion's UNet of ours: an `OtherUNet`."""

    def __init__(
        self, unet: type[Any], mesh: Mesh, *, attention: str, flash_min_tokens: int
    ) -> None:
        """Args:

        unet: the class, from `find_unet`.
        mesh: the devices; one for any attention but dot_product.
        attention: its `attention_kernel`.
        flash_min_tokens: its `flash_min_seq_length`.
        """
        self._unet = unet
        self._mesh = mesh
        self._attention = attention
        self._flash_min_tokens = flash_min_tokens
        self._made: _Model | None = None

    @property
    def name(self) -> str:
        """See `OtherUNet.name`."""
        kind = "" if self._attention == DOT_PRODUCT else f"-{self._attention}"
        return f"maxdiffusion{kind}"

    def of(self, unet: UNet) -> "MaxDiffusionUNet":
        """See `OtherUNet.of`. All that one object makes have the first one's config and dtype."""
        if self._made is None:
            self._made = self._model(unet.config, unet.dtype)
        return MaxDiffusionUNet(unet, self._made)

    def _model(self, config: UNetConfig, dtype: DTypeLike) -> "_Model":
        flash = self._attention != DOT_PRODUCT
        module = self._unet(
            **fields_of(config),
            dtype=dtype,
            weights_dtype=dtype,
            split_head_dim=True,  # as in its configs/base_xl.yml
            attention_kernel=self._attention,
            flash_min_seq_length=self._flash_min_tokens,
            mesh=self._mesh if flash else None,
        )
        params = declared(UNet.declare(config))
        check_tree(params, module.init_weights(jax.random.key(0), eval_only=True))
        return _Model(module.apply, params, dtype, own_mesh=flash)


class _Model:
    """What is static in a program; equal only to itself."""

    def __init__(
        self, apply: Callable[..., Any], params: list[Param], dtype: DTypeLike, *, own_mesh: bool
    ) -> None:
        """Args:

        apply: the Flax module's.
        params: the declarations of our UNet, in the order of its leaves.
        dtype: to compute in.
        own_mesh: whether the module calls `shard_map` itself.
        """
        self.dtype = dtype
        self._apply = apply
        self._params = params
        self.own_mesh = own_mesh

    def __call__(self, unet: UNet, *arguments: Array, added: dict[str, Array]) -> Array:
        """Predict, [B, channels, h, w]."""
        tree = flax_tree(self._params, jax.tree.leaves(unet))
        made = self._apply({"params": tree}, *arguments, added_cond_kwargs=added, return_dict=False)
        predicted: Array = made[0]
        return predicted


@layer
class MaxDiffusionUNet:
    """Our weights, computed by MaxDiffusion's UNet. Its methods are as those of `UNet`."""

    own: UNet
    model: _Model = field(metadata=STATIC)

    @property
    def config(self) -> UNetConfig:
        """The model's."""
        return self.own.config

    @property
    def dtype(self) -> DTypeLike:
        """The dtype of the parameters."""
        return self.model.dtype

    @property
    def maps_devices(self) -> bool:
        """See `UNet.maps_devices`: its kernels are in a `shard_map`."""
        return self.model.own_mesh

    def project_context(self, context: Array) -> Array:
        """The context [B, tokens, C] itself: this UNet computes keys and values in each step."""
        return context.astype(self.dtype)

    def whole(
        self,
        sample: Array,
        timestep: Array,
        prompt: Array,
        pooled: Array,
        time_ids: Array,
        *,
        guidance: Array | None = None,
        additions: Additions = NO_ADDITIONS,
    ) -> Whole:
        """See `UNet.whole`. There is no deep feature, and nothing can be added."""
        if guidance is not None or additions != NO_ADDITIONS:
            raise ValueError("MaxDiffusion's UNet takes no guidance scale and no additions")
        predicted = self.model(
            self.own,
            jnp.transpose(sample, (0, 3, 1, 2)),
            timestep,
            prompt,
            added={"text_embeds": pooled, "time_ids": time_ids},
        )
        output = jnp.transpose(predicted, (0, 2, 3, 1))
        return Whole(output, output[..., :0])
