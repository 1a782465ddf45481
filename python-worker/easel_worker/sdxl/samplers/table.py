"""A sampler as a table: each denoising step is a linear update with precomputed coefficients.

Every sampler keeps the sample at unit variance: x = alpha · image + sigma · noise with
alpha² + sigma² = 1. diffusers' Euler schedulers keep x / alpha instead and rescale it before each
call of the UNet. Unit variance stays exact where alpha nears 0 (zero terminal SNR).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from numpy.typing import NDArray

from easel_worker.sdxl.samplers.config import Config, SchedulerError
from easel_worker.sdxl.samplers.schedules import Floats


class Coefficients(NamedTuple):
    """The update of one step as scalars, or of several steps as arrays: see `advance`."""

    data_sample: Any
    data_output: Any
    next_sample: Any
    next_output: Any
    next_previous: Any
    next_noise: Any


@dataclass(frozen=True)
class Table:
    """All steps of an image.

    Attributes:
        initial: the factor from unit normal noise to the first sample.
        timesteps: the UNet's timestep at each step, [steps], float32.
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
    """Advance a sample by one denoising step, or several samples with broadcast coefficients.

    Args:
        at: the step's coefficients.
        sample: the current sample at unit variance, float32.
        output: the UNet's output for it, after guidance.
        previous: the image predicted by the previous step; any finite values at the first step.
        noise: fresh unit normal noise.

    Returns:
        The next sample, and the image predicted by this step.
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
    """Convert diffusers' sigmas, the noise's standard deviation over the image's."""
    alpha = 1.0 / np.sqrt(1.0 + sigmas**2)
    return Levels(alpha, sigmas * alpha)


@dataclass(frozen=True)
class Mix:
    """The coefficients of a linear combination of sample and output, each [steps]."""

    sample: Floats
    output: Floats


def image_prediction(config: Config, now: Levels) -> Mix:
    """The predicted image as a combination of sample and output.

    Raises:
        SchedulerError: the output determines no image (epsilon at alpha = 0).
    """
    match config.prediction_type:
        case "epsilon":
            if np.any(now.alpha == 0.0):
                raise SchedulerError(
                    "a model that predicts epsilon cannot start from noise without any image: set "
                    "rescale_betas_zero_snr to false in scheduler/scheduler_config.json"
                )
            return Mix(1.0 / now.alpha, -now.sigma / now.alpha)
        case "v_prediction":
            return Mix(now.alpha, -now.sigma)
        case _:  # "sample"
            return Mix(np.zeros_like(now.alpha), np.ones_like(now.alpha))


def noise_prediction(config: Config, now: Levels) -> Mix:
    """The predicted noise as a combination of sample and output."""
    match config.prediction_type:
        case "epsilon":
            return Mix(np.zeros_like(now.alpha), np.ones_like(now.alpha))
        case "v_prediction":
            return Mix(now.sigma, now.alpha)
        case _:  # "sample"
            return Mix(1.0 / now.sigma, -now.alpha / now.sigma)


def first_order(
    config: Config,
    timesteps: Floats,
    now: Levels,
    then: Levels,
    *,
    initial: float,
    fresh_noise: Floats | None = None,
) -> Table:
    """The table of a first-order sampler: combine predicted image and noise at the next level.

    Args:
        config: for the prediction type.
        timesteps: [steps].
        now: the levels at which the steps start.
        then: the shares of predicted image and predicted noise in the results of the steps.
        initial: as in `Table`.
        fresh_noise: the share of fresh noise in the results, [steps].
    """
    image, noise = image_prediction(config, now), noise_prediction(config, now)
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
    """Make a float32 table from float64 columns; absent columns are zero."""
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
