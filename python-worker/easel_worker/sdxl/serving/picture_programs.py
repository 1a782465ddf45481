"""The programs of images that begin from a picture: noise, the beginning, and blending.

The denoising programs know nothing of pictures. Where an image keeps parts of its picture, a small
program of its own puts them back after each evaluation of the UNet, so images of all kinds share
steps, and one's arithmetic does not depend on the others.

An inpainting model is different: its UNet takes the mask and the masked picture as inputs at every
step, and was trained to fill in what is missing, so nothing is put back. See `inpainting_inputs`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray

from easel_worker.sdxl.model import vae
from easel_worker.sdxl.model.config import SdxlConfig, VaeConfig
from easel_worker.sdxl.serving.compilation import Program
from easel_worker.sdxl.serving.programs import State, draw_noise, is_finite, latent_shape
from easel_worker.values import Size

POSTERIOR_DRAW, MASKED_DRAW = np.uint32(2**32 - 1), np.uint32(2**32 - 2)
"""The draws of `draw_noise` for the latents of a picture and of a masked picture.

No image has as many steps.
"""

REPAINT = 128
"""The least value of a mask that repaints."""

T = TypeVar("T", Array, NDArray[np.bool_])

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


class Inpainting(NamedTuple):
    """What an inpainting UNet takes besides the sample.

    Attributes:
        inputs: where to repaint, 0 or 1, then the latents of the masked picture in the UNet's
            scale: [h, w, 1 + channels], float32.
        finite: whether all numbers are finite: bool.
    """

    inputs: Array
    finite: Array


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
    latents = _latents(encoder, _image(pixels), draws.posterior, config)
    return begin_from_latents(latents, draws.first, alpha, sigma, keep_older=keep_older)


def begin_from_latents(
    latents: Array, noise: ArrayLike, alpha: Array, sigma: Array, *, keep_older: bool = False
) -> Begun:
    """The state before the first step of an image that begins from latents.

    Args:
        latents: in the UNet's scale, [h, w, channels], float32.
        noise: that of the first sample, of the same shape.
        alpha: the share of the latents in the sample; see `Table.noised_at`.
        sigma: the share of the noise.
        keep_older: see `State`.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl_img2img.py#L709
    """
    sample = alpha * latents + sigma * jnp.asarray(noise)
    nothing = jnp.zeros_like(sample)
    state = State(sample, nothing, nothing if keep_older else None)
    return Begun(state, latents, is_finite(sample))


def inpainting_inputs(
    encoder: vae.Encoder, pixels: Array, mask: Array, noise: Array, *, config: VaeConfig
) -> Inpainting:
    """What an inpainting UNet takes besides the sample, the same at all steps.

    Args:
        encoder: the VAE's.
        pixels: of the picture, [H, W, 3], uint8.
        mask: where to repaint it, [H, W, 1], uint8. What is repainted is grey to the UNet.
        noise: unit normal noise for the latents, [h, w, channels].
        config: the VAE's.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl_inpaint.py#L856
    """
    repainted = mask >= REPAINT
    masked = jnp.where(repainted, 0.0, _image(pixels))
    latents = _latents(encoder, masked, noise, config)
    small = at_latents(repainted, config.scale).astype(jnp.float32)
    return Inpainting(jnp.concatenate([small, latents], axis=-1), is_finite(latents))


def at_latents(mask: T, scale: int) -> T:
    """A mask [H, W, 1] at the size of latents, [h, w, 1]: the values at their corners.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl_inpaint.py#L862
    """
    return mask[::scale, ::scale]


def _image(pixels: Array) -> Array:
    """Pixels as the VAE takes them: float32, -1 to 1."""
    return 2.0 * (pixels.astype(jnp.float32) / 255.0) - 1.0


def _latents(encoder: vae.Encoder, image: Array, noise: ArrayLike, config: VaeConfig) -> Array:
    """A sample of an image's latents, in the UNet's scale."""
    mean, logvar = (each[0].astype(jnp.float32) for each in encoder(image[None]))
    return vae.scale(config, mean + jnp.exp(0.5 * logvar) * noise)


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
        self._begin_latents: dict[Size, Program] = {}
        self._blend: dict[Size, Program] = {}
        self._inpainting_noise: dict[Size, Program] = {}
        self._inpainting: dict[Size, Program] = {}

    def add_inpainting(self, size: Size) -> Inpainting:
        """Compile what every image of an inpainting model needs.

        Returns:
            The result's shapes.

        Raises:
            RuntimeError: there is no encoder.
        """
        if self._encoder is None:
            raise RuntimeError("there is no encoder, which an inpainting model needs")
        noise = partial(draw_noise, draw=MASKED_DRAW, shape=latent_shape(self._config, size))
        make = partial(inpainting_inputs, config=self._config.vae)
        pixels = np.zeros((size.height, size.width, 3), np.uint8)
        drawn = jax.eval_shape(noise, np.uint32(0))
        arguments = (self._encoder, pixels, pixels[..., :1], drawn)
        self._inpainting_noise[size] = self._compile(
            f"inpainting noise {size}", noise, np.uint32(0)
        )
        self._inpainting[size] = self._compile(f"inpainting {size}", make, *arguments)
        made: Inpainting = jax.eval_shape(make, *arguments)
        return made

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
        self._draw[size] = self._compile(f"picture noise {size}", noise, np.uint32(0))
        self._begin[size] = self._compile(f"picture {size}", begin, *arguments)
        from_latents = partial(begin_from_latents, keep_older=self._keep_older)
        self._begin_latents[size] = self._compile(
            f"picture latents {size}", from_latents, begun.latents, draws.first, *levels
        )
        if self._config.inpaints:
            return
        background = Background(begun.latents, draws.first, np.zeros((*shape[:2], 1), np.bool_))
        self._blend[size] = self._compile(
            f"picture blend {size}", blend, begun.state, background, *levels
        )

    def draw(self, size: Size) -> Callable[..., Draws]:
        """`draw` without its keywords."""
        return self._draw[size].run

    def begin(self, size: Size) -> Callable[..., Begun]:
        """`begin_from_picture` without its keywords."""
        return self._begin[size].run

    def begin_latents(self, size: Size) -> Callable[..., Begun]:
        """`begin_from_latents` without its keywords."""
        return self._begin_latents[size].run

    def inpainting_noise(self, size: Size) -> Callable[..., Array]:
        """The noise of the masked picture's latents, from a seed."""
        return self._inpainting_noise[size].run

    def inpainting(self, size: Size) -> Callable[..., Inpainting]:
        """`inpainting_inputs` without its keywords."""
        return self._inpainting[size].run

    def blend(self, size: Size) -> Callable[[State, Background, Any, Any], State]:
        """`blend`."""
        return self._blend[size].run
