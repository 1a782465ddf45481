"""The programs of images that begin from a picture: noise, the beginning, and blending.

The denoising programs know nothing of pictures. Where an image keeps parts of its picture, a small
program of its own puts them back after each evaluation of the UNet, so images of all kinds share
steps, and one's arithmetic does not depend on the others.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from easel_worker.sdxl.model import vae
from easel_worker.sdxl.model.config import SdxlConfig, VaeConfig
from easel_worker.sdxl.serving.compilation import Program
from easel_worker.sdxl.serving.programs import State, draw_noise, is_finite, latent_shape
from easel_worker.values import Size

POSTERIOR_DRAW = np.uint32(2**32 - 1)
"""The draw of `draw_noise` for a picture's latents: no image has as many steps."""

Compile = Callable[..., Program]
"""Name, function and arguments → program."""


class Draws(NamedTuple):
    """Unit normal noise [h, w, channels]: of the first sample, and of the picture's latents."""

    first: ArrayLike
    posterior: ArrayLike


class Begun(NamedTuple):
    """An image before its first step.

    Attributes:
        state: the state.
        latents: of its picture, in the UNet's scale, [h, w, channels], float32.
        finite: whether all numbers are finite: bool.
    """

    state: State
    latents: Array
    finite: Array


class Background(NamedTuple):
    """What an image keeps of its picture.

    Attributes:
        latents: of the picture, in the UNet's scale, [h, w, channels], float32.
        noise: the unit normal noise that it gets, the same at all levels.
        repainted: where the image is not kept, [h, w, 1], bool.
    """

    latents: ArrayLike
    noise: ArrayLike
    repainted: ArrayLike


def draw(seed: Array, *, shape: tuple[int, ...]) -> Draws:
    """The noise of an image that begins from a picture."""
    first, posterior = (draw_noise(seed, each, shape=shape) for each in (0, POSTERIOR_DRAW))
    return Draws(first, posterior)


def begin_from_picture(
    encoder: vae.Encoder,
    pixels: Array,
    draws: Draws,
    alpha: Array,
    sigma: Array,
    *,
    config: VaeConfig,
    keep_older: bool = False,
) -> Begun:
    """The state before the first step of an image that begins from a picture.

    Args:
        encoder: the VAE's.
        pixels: [H, W, 3], uint8.
        draws: the noise.
        alpha: the share of the latents in the sample; see `Table.noised_at`.
        sigma: the share of the noise.
        config: the VAE's.
        keep_older: see `State`.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl_img2img.py#L688
    """
    image = 2.0 * (pixels.astype(jnp.float32) / 255.0) - 1.0
    mean, logvar = (each[0].astype(jnp.float32) for each in encoder(image[None]))
    latents = vae.scale(config, mean + jnp.exp(0.5 * logvar) * draws.posterior)
    sample = alpha * latents + sigma * jnp.asarray(draws.first)
    nothing = jnp.zeros_like(sample)
    state = State(sample, nothing, nothing if keep_older else None)
    return Begun(state, latents, is_finite(sample))


def blend(state: State, background: Background, alpha: Array, sigma: Array) -> State:
    """Put the kept part of the picture into a state, at the noise level of the next evaluation.

    The predicted image gets it without noise, so that previews show it. Samplers compute each value
    from the same place of their inputs alone, so this changes nothing that is repainted.

    Args:
        state: after an evaluation.
        background: what to keep.
        alpha: the share of the latents; see `Table.noised_at`.
        sigma: the share of the noise.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl_inpaint.py#L1648
    """
    latents, noise, repainted = map(jnp.asarray, background)
    sample = jnp.where(repainted, state.sample, alpha * latents + sigma * noise)
    return state._replace(sample=sample, image=jnp.where(repainted, state.image, latents))


class PicturePrograms:
    """Compiles these programs for each size, and holds them."""

    def __init__(
        self, config: SdxlConfig, encoder: vae.Encoder | None, compile_: Compile, keep_older: bool
    ) -> None:
        """Args:

        config: the model's configuration.
        encoder: the VAE's encoder, or only its shapes; None if there is none.
        compile_: compiles a program.
        keep_older: see `State`.
        """
        self._config = config
        self._encoder = encoder
        self._compile = compile_
        self._keep_older = keep_older
        self._draw: dict[Size, Program] = {}
        self._begin: dict[Size, Program] = {}
        self._blend: dict[Size, Program] = {}

    def add_size(self, size: Size) -> None:
        """Compile the programs of a size.

        Raises:
            RuntimeError: there is no encoder.
        """
        if self._encoder is None:
            raise RuntimeError("there is no encoder to begin from pictures with")
        shape = latent_shape(self._config, size)
        noise = partial(draw, shape=shape)
        begin = partial(begin_from_picture, config=self._config.vae, keep_older=self._keep_older)
        draws: Draws = jax.eval_shape(noise, np.uint32(0))
        levels = np.float32(0), np.float32(0)
        pixels = np.zeros((size.height, size.width, 3), np.uint8)
        arguments = (self._encoder, pixels, draws, *levels)
        begun: Begun = jax.eval_shape(begin, *arguments)
        background = Background(begun.latents, draws.first, np.zeros((*shape[:2], 1), np.bool_))
        self._draw[size] = self._compile(f"picture noise {size}", noise, np.uint32(0))
        self._begin[size] = self._compile(f"picture {size}", begin, *arguments)
        self._blend[size] = self._compile(
            f"picture blend {size}", blend, begun.state, background, *levels
        )

    def draw(self, size: Size) -> Callable[..., Draws]:
        """`draw` without its keywords."""
        return self._draw[size].run

    def begin(self, size: Size) -> Callable[..., Begun]:
        """`begin_from_picture` without its keywords."""
        return self._begin[size].run

    def blend(self, size: Size) -> Callable[[State, Background, Any, Any], State]:
        """`blend`."""
        return self._blend[size].run
