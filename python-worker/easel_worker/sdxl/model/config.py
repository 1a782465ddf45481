"""What the config files of each part of a model say. `folder.config` reads them."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike


@dataclass(frozen=True)
class TextConfig:
    """One CLIP text encoder. `projection` is None for the encoder without a projection."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    positions: int
    activation: str
    norm_eps: float
    eos_token_id: int
    projection: int | None

    @property
    def pooled(self) -> int:
        """Features of the pooled output."""
        return self.hidden if self.projection is None else self.projection


@dataclass(frozen=True)
class VisionConfig:
    """A CLIP vision encoder with a projection.

    Attributes:
        side: pixels along a picture's side.
        patch: pixels along a patch's side.
        projection: features of the projected output.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    side: int
    patch: int
    activation: str
    norm_eps: float
    projection: int

    @property
    def tokens(self) -> int:
        """One for each patch, and one for the whole picture before them."""
        return (self.side // self.patch) ** 2 + 1


@dataclass(frozen=True)
class UNetConfig:
    """The denoiser. Tuples hold one value per level, from full resolution down.

    Attributes:
        layers: residual blocks on the way down; the way up has one more.
        down_transformers: the number of blocks of the transformer after each residual block; empty
            for a level without transformers.
        mid_resnets: residual blocks of the middle block; 0 if the UNet has none.
        mid_transformers: the number of blocks of each transformer between them.
        up_transformers: like `down_transformers`.
        guidance_features: features of the embedded guidance scale, for models that take it as an
            input instead of a second row (LCM); None for other models.
    """

    sample_size: int
    in_channels: int
    out_channels: int
    channels: tuple[int, ...]
    layers: tuple[int, ...]
    down_transformers: tuple[tuple[int, ...], ...]
    mid_resnets: int
    mid_transformers: tuple[int, ...]
    up_transformers: tuple[tuple[int, ...], ...]
    heads: tuple[int, ...]
    context: int
    linear_projection: bool
    norm_groups: int
    norm_eps: float
    time_id_features: int
    added_features: int
    flip_sin_to_cos: bool
    freq_shift: float
    guidance_features: int | None

    @property
    def time_features(self) -> int:
        """Features of the time embedding."""
        return 4 * self.channels[0]


@dataclass(frozen=True)
class VaeConfig:
    """The autoencoder between pixels and latents.

    The VAE's latents are z = x · std / scaling_factor + mean for the UNet's latents x. mean and std
    are per channel, and 0 and 1 if the config does not set them.
    """

    image_channels: int
    latent_channels: int
    channels: tuple[int, ...]
    layers: int
    norm_groups: int
    mid_attention: bool
    quant_conv: bool
    post_quant_conv: bool
    scaling_factor: float
    latents_mean: tuple[float, ...] | None
    latents_std: tuple[float, ...] | None
    force_upcast: bool

    @property
    def scale(self) -> int:
        """Pixels per latent along each side."""
        return 1 << (len(self.channels) - 1)

    def compute_dtype(self, dtype: DTypeLike) -> DTypeLike:
        """The dtype to compute in when `dtype` was asked for.

        `force_upcast` says that activations overflow float16. bfloat16 has float32's range, so
        only float16 becomes float32, as in diffusers.
        """
        overflows = self.force_upcast and np.dtype(dtype) == np.float16
        return jnp.float32 if overflows else dtype


@dataclass(frozen=True)
class SdxlConfig:
    """A whole SDXL model.

    Attributes:
        text_encoder: None for a model with the second one only, as SDXL's refiner.
        scheduler: the contents of scheduler_config.json, with "_class_name".
        force_zeros_for_empty_prompt: use zeros as embeddings of an absent negative prompt.
        aesthetic_scores: the UNet is conditioned on a score in the place of the target size.
        pictures_only: it changes pictures and makes none from text alone.
    """

    text_encoder: TextConfig | None
    text_encoder_2: TextConfig
    unet: UNetConfig
    vae: VaeConfig
    scheduler: dict[str, Any]
    force_zeros_for_empty_prompt: bool
    aesthetic_scores: bool = False
    pictures_only: bool = False

    @property
    def text_encoders(self) -> tuple[TextConfig, ...]:
        """Those that it has: the second is the last."""
        first = () if self.text_encoder is None else (self.text_encoder,)
        return (*first, self.text_encoder_2)

    @property
    def time_ids(self) -> int:
        """How many numbers the UNet is conditioned on besides the prompt; see `time_ids`."""
        return 5 if self.aesthetic_scores else 6

    @property
    def inpaints(self) -> bool:
        """Whether the UNet was trained to repaint: its inputs have a mask and a picture besides."""
        return self.unet.in_channels == 2 * self.vae.latent_channels + 1

    @property
    def vae_scale(self) -> int:
        """Pixels per latent along each side."""
        return self.vae.scale
