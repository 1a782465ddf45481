"""Makes the state of an image before its first step: from noise, a picture, or latents."""

from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jax import Array
from jax.sharding import Sharding
from msgspec import UNSET
from numpy.typing import NDArray

from easel_worker.engine import ImageSpec, NotFinite
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.vae import Encoder
from easel_worker.sdxl.samplers.table import Table
from easel_worker.sdxl.serving.latent_scaling import scaled
from easel_worker.sdxl.serving.picture_programs import (
    REPAINT,
    Background,
    Begun,
    Draws,
    at_latents,
)
from easel_worker.sdxl.serving.program_set import ProgramSet
from easel_worker.sdxl.serving.programs import State

T = TypeVar("T")

_GREY = 127
"""The picture of an image that has none: an inpainting UNet is shown nothing of it."""


class Beginning(NamedTuple):
    """An image before its first step.

    Attributes:
        state: the state.
        background: what it keeps of its picture; None without a mask.
        finite: whether the latents of its pictures are finite, for each that was encoded.
        inpainting: what an inpainting UNet takes besides the sample; None for other UNets.
    """

    state: State
    background: Background | None = None
    finite: tuple[Array, ...] = ()
    inpainting: Array | None = None

    def check(self) -> None:
        """Raises NotFinite if the latents of a picture are not finite."""
        if not all(map(np.asarray, self.finite)):
            raise NotFinite("decode", "the VAE's encoder")


class Beginner:
    """Begins images, with a loaded and compiled model."""

    def __init__(
        self,
        config: SdxlConfig,
        programs: ProgramSet,
        encoder: Encoder | None,
        everywhere: Sharding,
    ) -> None:
        """Args:

        config: the model's.
        programs: compiled for every size that callers use.
        encoder: the VAE's, on the devices; None if no image begins from a picture.
        everywhere: the sharding of arrays.
        """
        self._programs = programs
        self._encoder = encoder
        self._everywhere = everywhere
        self._scale = config.vae_scale
        self._inpaints = config.inpaints

    def begin(self, spec: ImageSpec, table: Table, draws: Draws | None) -> Beginning:
        """An image before its first step.

        Args:
            spec: of the image.
            table: of its sampler, from its first step on.
            draws: noise to use instead of the seed's; only an image with a picture needs the second
                one.
        """
        if self._inpaints:
            return self._to_inpaint(spec, table, draws)
        if spec.begun is None:
            return Beginning(self._from_noise(spec, table, draws))
        (state, latents, finite), drawn = self._from_something(spec, table, draws)
        if spec.mask is None:
            return Beginning(state, None, (finite,))
        if not spec.skipped_steps:  # as diffusers at full strength
            state = self._from_noise(spec, table, draws)
        background = Background(latents, drawn.first, self._repainted(spec.mask.pixels))
        return Beginning(state, self._put(background), (finite,))

    def _to_inpaint(self, spec: ImageSpec, table: Table, draws: Draws | None) -> Beginning:
        """An image of an inpainting model.

        Without a mask all of it is repainted, so the UNet gets a mask of ones and a grey picture,
        as AUTOMATIC1111's web UI does for images from text (`txt2img_image_conditioning`) and from
        pictures (`inpainting_image_conditioning`).

        https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/processing.py
        """
        shape = spec.height, spec.width
        pixels = np.full((*shape, 3), _GREY, np.uint8) if spec.image is None else spec.image.pixels
        mask = np.full((*shape, 1), REPAINT, np.uint8) if spec.mask is None else spec.mask.pixels
        programs, seed = self._programs.pictures, np.uint32(spec.seed)
        noise = (
            programs.inpainting_noise(spec.size)(seed)
            if draws is None
            else self._put(draws.posterior)
        )
        inputs, finite = programs.inpainting(spec.size)(self._encoder, pixels, mask, noise)
        if spec.begun is None or not spec.skipped_steps:
            state = self._from_noise(spec, table, draws)
            return Beginning(state, finite=(finite,), inpainting=inputs)
        begun, _ = self._from_something(spec, table, draws)
        return Beginning(begun.state, finite=(begun.finite, finite), inpainting=inputs)

    def _from_something(
        self, spec: ImageSpec, table: Table, draws: Draws | None
    ) -> tuple[Begun, Draws]:
        """The state of an image that begins from its picture or latents, and the noise in it."""
        programs, seed = self._programs.pictures, np.uint32(spec.seed)
        drawn = programs.draw(spec.size)(seed) if draws is None else self._put(draws)
        levels = table.noised_at(0)
        if spec.image is not None:
            begin = programs.begin(spec.size)
            return begin(self._encoder, spec.image.pixels, drawn, *levels), drawn
        latents = self._put(self._enlarged(spec))
        return programs.begin_latents(spec.size)(latents, drawn.first, *levels), drawn

    def _enlarged(self, spec: ImageSpec) -> NDArray[np.float32]:
        """The latents that an image begins from, at its size."""
        if spec.latents is None or spec.latents_upscaler is UNSET:
            raise ValueError("the image begins from no latents")
        latents = spec.latents.pixels.view("<f4")
        height, width = (side // self._scale for side in (spec.height, spec.width))
        return scaled(latents, height, width, spec.latents_upscaler)

    def _from_noise(self, spec: ImageSpec, table: Table, draws: Draws | None) -> State:
        if draws is None:
            begin = self._programs.begin(spec.size)
            return begin(np.uint32(spec.seed), np.float32(table.initial))
        sample = np.asarray(draws.first) * np.float32(table.initial)
        nothing = np.zeros_like(sample)
        older = nothing if self._programs.keep_older else None
        return self._put(State(sample, nothing, older))  # type: ignore[arg-type]

    def _put(self, arrays: T) -> T:
        placed: T = jax.device_put(arrays, self._everywhere)
        return placed

    def _repainted(self, mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which latents are repainted, [h, w, 1], from a mask [H, W, 1]."""
        return at_latents(mask >= REPAINT, self._scale)
