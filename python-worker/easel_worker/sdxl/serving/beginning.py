"""Makes the state of an image before its first step: from noise, or from a picture."""

from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jax import Array
from jax.sharding import Sharding
from numpy.typing import NDArray

from easel_worker.engine import ImageSpec, NotFinite
from easel_worker.sdxl.model.vae import Encoder
from easel_worker.sdxl.samplers.table import Table
from easel_worker.sdxl.serving.picture_programs import Background, Draws
from easel_worker.sdxl.serving.program_set import ProgramSet
from easel_worker.sdxl.serving.programs import State

T = TypeVar("T")

REPAINT = 128
"""The least value of a mask that repaints."""


class Beginning(NamedTuple):
    """An image before its first step.

    Attributes:
        state: the state.
        background: what it keeps of its picture; None without a mask.
        finite: whether the picture's latents are finite; None without a picture.
    """

    state: State
    background: Background | None = None
    finite: Array | None = None

    def check(self) -> None:
        """Raises NotFinite if the picture's latents are not finite."""
        if self.finite is not None and not np.asarray(self.finite):
            raise NotFinite("decode", "the VAE's encoder")


class Beginner:
    """Begins images, with a loaded and compiled model."""

    def __init__(
        self, programs: ProgramSet, encoder: Encoder | None, everywhere: Sharding, scale: int
    ) -> None:
        """Args:

        programs: compiled for every size that callers use.
        encoder: the VAE's, on the devices; None if no image begins from a picture.
        everywhere: the sharding of arrays.
        scale: pixels along the side of a latent.
        """
        self._programs = programs
        self._encoder = encoder
        self._everywhere = everywhere
        self._scale = scale

    def begin(self, spec: ImageSpec, table: Table, draws: Draws | None) -> Beginning:
        """An image before its first step.

        Args:
            spec: of the image.
            table: of its sampler, from its first step on.
            draws: noise to use instead of the seed's; only an image with a picture needs the second
                one.
        """
        if spec.image is None:
            return Beginning(self._from_noise(spec, table, draws))
        programs, seed = self._programs.pictures, np.uint32(spec.seed)
        drawn = programs.draw(spec.size)(seed) if draws is None else self._put(draws)
        begin, levels = programs.begin(spec.size), table.noised_at(0)
        state, latents, finite = begin(self._encoder, spec.image.pixels, drawn, *levels)
        if spec.mask is None:
            return Beginning(state, None, finite)
        if not spec.skipped_steps:  # as diffusers at full strength
            state = self._from_noise(spec, table, draws)
        background = Background(latents, drawn.first, self._repainted(spec.mask.pixels))
        return Beginning(state, self._put(background), finite)

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
        """Which latents are repainted, [h, w, 1], from a mask [H, W, 1].

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl_inpaint.py#L785
        """
        return mask[:: self._scale, :: self._scale] >= REPAINT
