"""Make a calibration's images like the worker does, with a UNet that reports its inputs."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from easel_worker.calibrate.watched import Watched, watched_unet
from easel_worker.engine import Tokens
from easel_worker.sdxl.folder.config_reader import ConfigError
from easel_worker.sdxl.folder.model import SdxlParams, load_params
from easel_worker.sdxl.samplers import sampler
from easel_worker.sdxl.samplers.table import Table
from easel_worker.sdxl.serving import programs, resolve
from easel_worker.sdxl.serving.describe import Description, describe
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.picture_programs import (
    MASKED_DRAW,
    REPAINT,
    Inpainting,
    inpainting_inputs,
)
from easel_worker.sdxl.serving.programs import Encoded, Prompt
from easel_worker.sdxl.serving.sharding import replicate
from easel_worker.sdxl.serving.time_ids import own_size
from easel_worker.values import Size

Report = Callable[[str], None]


class Calibration:
    """Makes images and keeps the largest inputs seen so far."""

    def __init__(self, folder: Path, options: Options, report: Report) -> None:
        """Load a model.

        Args:
            folder: the model.
            options: `dtype` and `devices` take effect. The first device is used.
            report: called with readable lines.

        Raises:
            ValueError: the model is not supported, or its weights do not fit.
        """
        about = describe(folder, options)
        if about.config.pictures_only:
            raise ConfigError(
                f"{folder}: a model that changes pictures cannot be calibrated by texts"
            )
        put = replicate(resolve.mesh(options))
        self._about: Description = about
        self._params: SdxlParams = load_params(
            about.files,
            about.config,
            resolve.dtypes(options),
            put,
            report,
            encoder=about.config.inpaints,
        )
        self._unet = watched_unet(about.config.unet)
        self._encode = jax.jit(programs.encode)
        self._largest: dict[str, NDArray[np.float32]] = {}

    @property
    def largest(self) -> dict[str, NDArray[np.float32]]:
        """For each input, the largest absolute value per channel over all images so far."""
        return self._largest

    def add(self, text: Tokens, seed: int, steps: int | None = None) -> Array:
        """Make a guided image with the model's defaults.

        Args:
            text: its prompt.
            seed: seed of its noise.
            steps: number of steps; None for the model's default.

        Returns:
            The image's latents [h, w, channels], equal to those of the worker.
        """
        defaults, config = self._about.capabilities.defaults, self._about.config
        table = sampler.make_table(
            config.scheduler, defaults.scheduler, steps or defaults.num_inference_steps
        )
        size = Size(defaults.width, defaults.height)
        shape = programs.latent_shape(config, size)
        prompts = [self._prompt(text)]
        if config.unet.guidance_features is None:
            prompts.insert(0, self._negative(text))
        given = (
            jnp.stack([prompt.context for prompt in prompts]),
            jnp.stack([prompt.pooled for prompt in prompts]),
            jnp.tile(own_size(size), (len(prompts), 1)),
        )
        state = programs.begin(
            jnp.uint32(seed),
            jnp.float32(table.initial),
            shape=shape,
            keep_older=self._about.keep_older,
        )
        besides = self._inpainting(size, seed)
        for step in range(len(table.timesteps)):
            sample = jnp.concatenate([state.sample, *besides], axis=-1)
            seen = self._predict(sample, table, step, given)
            self._remember(seen.largest)
            first, last = seen.output[0], seen.output[-1]
            output = first + defaults.guidance_scale * (last - first)
            noise = programs.draw_noise(seed, 1 + step, shape=shape)
            state = programs.next_state(table.at(step), state, output, noise)
        return state.sample

    def _inpainting(self, size: Size, seed: int) -> list[Array]:
        """What an inpainting UNet takes besides the sample: a grey picture, all repainted."""
        encoder, config = self._params.encoder, self._about.config
        if not config.inpaints or encoder is None:
            return []
        pixels = jnp.zeros((size.height, size.width, 3), jnp.uint8)
        mask = jnp.full((size.height, size.width, 1), REPAINT, jnp.uint8)
        noise = programs.draw_noise(seed, MASKED_DRAW, shape=programs.latent_shape(config, size))
        make = jax.jit(partial(inpainting_inputs, config=config.vae))
        made: Inpainting = make(encoder, pixels, mask, noise)
        return [made.inputs]

    def _predict(
        self, sample: Array, table: Table, step: int, given: tuple[Array, Array, Array]
    ) -> Watched:
        count = len(given[0])
        rows = jnp.stack([sample] * count)
        timesteps = jnp.full(count, table.timesteps[step])
        guidance = jnp.full(count, self._about.capabilities.defaults.guidance_scale)
        return self._unet(self._params.unet, rows, timesteps, *given, guidance=guidance)

    def _remember(self, seen: dict[str, Array]) -> None:
        for name, sizes in seen.items():
            known = self._largest.get(name)
            now = np.asarray(sizes)
            self._largest[name] = now if known is None else np.maximum(known, now)

    def _negative(self, text: Tokens) -> Prompt:
        if not self._about.config.force_zeros_for_empty_prompt:
            return self._prompt(self._about.empty_text)
        zeros: Prompt = jax.tree.map(jnp.zeros_like, self._prompt(text))
        return zeros

    def _prompt(self, text: Tokens) -> Prompt:
        ids, ids_2 = (np.array(each, np.int32) for each in (text.ids, text.ids_2))
        encoded: Encoded = self._encode(self._params.text, ids, ids_2, np.int32(0))
        return encoded.prompt


def calibrate(
    folder: Path, texts: Sequence[Tokens], options: Options, steps: int | None, report: Report
) -> dict[str, NDArray[np.float32]]:
    """The largest inputs over one image per text. Image i has seed i.

    Args:
        folder: the model.
        texts: prompts.
        options: see `Calibration`.
        steps: steps of each image; None for the model's default.
        report: called with readable lines.

    Raises:
        ValueError: see `Calibration`.
    """
    calibration = Calibration(folder, options, report)
    for seed, text in enumerate(texts):
        calibration.add(text, seed, steps)
        report(f"image {seed + 1} of {len(texts)}")
    return calibration.largest
