"""A sampler as a table: each denoising step is a linear update with coefficients known beforehand.

The sample is kept at unit variance for every scheduler: x = alpha · image + sigma · noise with
alpha² + sigma² = 1. Diffusers' Euler schedulers keep x / alpha, and divide it before each call of
the UNet; here the table does so, and stays exact where alpha nears 0 (zero terminal SNR).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from numpy.typing import NDArray

from easel_worker.sdxl.samplers.config import SchedulerError, Settings
from easel_worker.sdxl.samplers.schedules import Floats


class Coefficients(NamedTuple):
    """One step's update as scalars, or the updates of several steps as arrays: see `advance`."""

    data_sample: Any
    data_output: Any
    next_sample: Any
    next_output: Any
    next_previous: Any
    next_noise: Any


@dataclass(frozen=True)
class Table:
    """Everything that a run of a scheduler does.

    Attributes:
        initial: what to multiply unit normal noise with to get the first sample.
        timesteps: what to tell the UNet at each step, [steps], float32.
        coefficients: the updates, each [steps], float32.
    """

    initial: float
    timesteps: NDArray[np.float32]
    coefficients: Coefficients

    def at(self, step: int) -> Coefficients:
        """The coefficients of one step, float32 scalars."""
        return Coefficients(*(column[step] for column in self.coefficients))


def advance(
    at: Coefficients, sample: Array, output: Array, previous: Array, noise: Array
) -> tuple[Array, Array]:
    """One denoising step of one sample, or of several with coefficients that broadcast.

    Args:
        at: the step's coefficients.
        sample: the current sample at unit variance, float32.
        output: the UNet's (guided) output for it.
        previous: the image that the step before predicted; any finite values at the first step.
        noise: fresh unit normal noise.

    Returns:
        The next sample, and the image that this step predicts.
    """
    image = at.data_sample * sample + at.data_output * output
    kept = at.next_sample * sample + at.next_output * output
    return kept + at.next_previous * previous + at.next_noise * noise, image


@dataclass(frozen=True)
class Levels:
    """Noise levels at unit variance: the image's and the noise's standard deviations, [steps]."""

    alpha: Floats
    sigma: Floats


def levels(sigmas: Floats) -> Levels:
    """From what diffusers calls sigmas: the noise's standard deviation over the image's."""
    alpha = 1.0 / np.sqrt(1.0 + sigmas**2)
    return Levels(alpha, sigmas * alpha)


@dataclass(frozen=True)
class Mix:
    """A quantity as sample · (its share) + output · (its share), each [steps]."""

    sample: Floats
    output: Floats


def image_prediction(settings: Settings, now: Levels) -> Mix:
    """The image that the UNet's output implies.

    Raises:
        SchedulerError: an output that says nothing about the image (epsilon at alpha = 0).
    """
    match settings.prediction_type:
        case "epsilon":
            if np.any(now.alpha == 0.0):
                raise SchedulerError(
                    "a model that predicts epsilon cannot start without any signal: set "
                    "rescale_betas_zero_snr to false in scheduler/scheduler_config.json"
                )
            return Mix(1.0 / now.alpha, -now.sigma / now.alpha)
        case "v_prediction":
            return Mix(now.alpha, -now.sigma)
        case _:  # "sample"
            return Mix(np.zeros_like(now.alpha), np.ones_like(now.alpha))


def noise_prediction(settings: Settings, now: Levels) -> Mix:
    """The noise that the UNet's output implies."""
    match settings.prediction_type:
        case "epsilon":
            return Mix(np.zeros_like(now.alpha), np.ones_like(now.alpha))
        case "v_prediction":
            return Mix(now.sigma, now.alpha)
        case _:  # "sample"
            return Mix(1.0 / now.sigma, -now.alpha / now.sigma)


def first_order(
    settings: Settings,
    timesteps: Floats,
    now: Levels,
    then: Levels,
    *,
    initial: float,
    fresh_noise: Floats | None = None,
) -> Table:
    """Mix the predicted image and the predicted noise anew at the next level.

    Args:
        settings: for the prediction type.
        timesteps: [steps].
        now: the levels that the steps start from.
        then: how much image and predicted noise the steps' results have.
        initial: as in `Table`.
        fresh_noise: how much fresh noise they have besides.
    """
    image, noise = image_prediction(settings, now), noise_prediction(settings, now)
    following = Mix(
        then.alpha * image.sample + then.sigma * noise.sample,
        then.alpha * image.output + then.sigma * noise.output,
    )
    return build(initial, timesteps, image, following, fresh_noise=fresh_noise)


def build(
    initial: float,
    timesteps: Floats,
    image: Mix,
    following: Mix,
    *,
    previous: Floats | None = None,
    fresh_noise: Floats | None = None,
) -> Table:
    """A table in float32 from float64 columns; absent ones are zero."""
    zeros = np.zeros(len(timesteps))
    columns = (
        image.sample,
        image.output,
        following.sample,
        following.output,
        zeros if previous is None else previous,
        zeros if fresh_noise is None else fresh_noise,
    )
    return Table(
        initial=initial,
        timesteps=timesteps.astype(np.float32),
        coefficients=Coefficients(*(column.astype(np.float32) for column in columns)),
    )
