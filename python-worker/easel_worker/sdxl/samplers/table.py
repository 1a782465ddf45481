"""A sampler as a table: each denoising step is a linear update with precomputed coefficients.

Every sampler keeps the sample at the scale of the UNet's input. For models with betas that is unit
variance: x = alpha · image + sigma · noise with alpha² + sigma² = 1. diffusers' Euler schedulers
keep x / alpha instead and rescale it before each call of the UNet. Unit variance stays exact where
alpha nears 0 (zero terminal SNR). For EDM models, whose images have the standard deviation
sigma_data, (sigma_data · alpha)² + sigma² = 1.
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
    next_older: Any = None


@dataclass(frozen=True)
class Levels:
    """Noise levels of kept samples: the factors of the image and of the noise, [steps]."""

    alpha: Floats
    sigma: Floats


@dataclass(frozen=True)
class Table:
    """All evaluations of the UNet for an image.

    A sampler of second order evaluates the UNet twice in each step but the last, so it has one row
    for each evaluation. `step_scheduler` counts them; a request counts steps.

    Attributes:
        initial: the factor from unit normal noise to the first sample.
        timesteps: the UNet's timestep at each evaluation, [evaluations], float32.
        coefficients: the updates, each [evaluations], float32.
        noised: how a known image, with noise, takes the place of the sample at each evaluation.
        handover: the first row of the refiner; None without one. See `handover`.
        repeated: how many rows before it the refiner does again: 0 or 1.
    """

    initial: float
    timesteps: NDArray[np.float32]
    coefficients: Coefficients
    noised: Levels
    handover: int | None = None
    repeated: int = 0

    def at(self, row: int) -> Coefficients:
        """The coefficients of one row, float32 scalars."""
        return Coefficients(*(column[row] for column in self.coefficients))

    def noised_at(self, row: int) -> tuple[np.float32, np.float32]:
        """The factors of a known image and of its noise in the sample before a row.

        After the last row the known image has no noise, whatever the sampler's last level is, as in
        diffusers.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl_inpaint.py#L1655
        """
        if row == len(self.timesteps):
            return np.float32(1.0), np.float32(0.0)
        return np.float32(self.noised.alpha[row]), np.float32(self.noised.sigma[row])

    def since(self, row: int) -> "Table":
        """The table without the rows before this one."""
        return Table(
            initial=self.initial,
            timesteps=self.timesteps[row:],
            coefficients=Coefficients(*(column[row:] for column in self.coefficients)),
            noised=Levels(self.noised.alpha[row:], self.noised.sigma[row:]),
        )

    @property
    def needs_older(self) -> bool:
        """Whether an update uses the image predicted two evaluations before."""
        return bool(np.any(self.coefficients.next_older))


def advance(
    at: Coefficients,
    sample: Array,
    output: Array,
    previous: Array,
    noise: Array,
    *,
    older: Array | None = None,
) -> tuple[Array, Array]:
    """Advance a sample by one denoising step, or several samples with broadcast coefficients.

    Args:
        at: the step's coefficients.
        sample: the current sample at unit variance, float32.
        output: the UNet's output for it, after guidance.
        previous: the image predicted by the previous step; any finite values at the first step.
        noise: fresh unit normal noise.
        older: the image predicted by the step before the previous one, for samplers that use it;
            any finite values at the first two steps.

    Returns:
        The next sample, and the image predicted by this step.
    """
    image = at.data_sample * sample + at.data_output * output
    kept = at.next_sample * sample + at.next_output * output
    following = kept + at.next_previous * previous + at.next_noise * noise
    return (following if older is None else following + at.next_older * older), image


def levels(sigmas: Floats, sigma_data: float | None = None) -> Levels:
    """Convert diffusers' sigmas, the factor of the noise where the image's factor is 1.

    Args:
        sigmas: [steps].
        sigma_data: as in `Config`.
    """
    variance = 1.0 if sigma_data is None else sigma_data**2
    alpha = 1.0 / np.sqrt(variance + sigmas**2)
    return Levels(alpha, sigmas * alpha)


def levels_after(sigmas: Floats, sigma_data: float | None = None) -> Levels:
    """The levels of the results of steps in sigma space, [steps], from sigmas [steps + 1].

    The decoder gets the last result, so that result keeps the whole image, as in diffusers.
    """
    alpha = levels(sigmas[1:], sigma_data).alpha
    alpha[-1] = 1.0
    return Levels(alpha, sigmas[1:] * alpha)


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
    if config.sigma_data is not None:
        return Mix(config.sigma_data**2 * now.alpha, _edm_gain(config) * now.sigma)
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
    if config.sigma_data is not None:
        return Mix(now.sigma, -_edm_gain(config) * now.alpha)
    match config.prediction_type:
        case "epsilon":
            return Mix(np.zeros_like(now.alpha), np.ones_like(now.alpha))
        case "v_prediction":
            return Mix(now.sigma, now.alpha)
        case _:  # "sample"
            return Mix(1.0 / now.sigma, -now.alpha / now.sigma)


def _edm_gain(config: Config) -> float:
    """The factor of an EDM model's output.

    At the scale of kept samples this is EDM's preconditioning, c_skip and c_out:
    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_edm_euler.py#L208
    """
    assert config.sigma_data is not None
    return -config.sigma_data if config.prediction_type == "v_prediction" else config.sigma_data


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
    return build(initial, timesteps, image, following, noised=now, fresh_noise=fresh_noise)


@dataclass(frozen=True)
class Update:
    """The next sample as a linear combination, each [evaluations]; absent terms are zero.

    Attributes:
        sample: the factor of the current sample.
        image: of the image that this evaluation predicts.
        previous: of the image predicted by the previous evaluation.
        older: of the image predicted by the evaluation before that.
        noise: of fresh noise.
    """

    sample: Floats
    image: Floats
    previous: Floats | None = None
    older: Floats | None = None
    noise: Floats | None = None


def from_update(
    config: Config,
    timesteps: Floats,
    now: Levels,
    update: Update,
    *,
    initial: float = 1.0,
    noised: Levels | None = None,
) -> Table:
    """The table of a sampler that is stated in terms of predicted images.

    Args:
        config: for the prediction type.
        timesteps: [evaluations].
        now: the levels of the evaluated samples.
        update: from each evaluation to the next.
        initial: as in `Table`.
        noised: as in `Table`; None for the levels of the evaluated samples.
    """
    image = image_prediction(config, now)
    following = Mix(
        update.sample + update.image * image.sample,
        update.image * image.output,
    )
    return build(
        initial,
        timesteps,
        image,
        following,
        noised=now if noised is None else noised,
        previous=update.previous,
        older=update.older,
        fresh_noise=update.noise,
    )


def build(
    initial: float,
    timesteps: Floats,
    image: Mix,
    following: Mix,
    *,
    noised: Levels,
    previous: Floats | None = None,
    older: Floats | None = None,
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
        zeros if older is None else older,
    )
    return Table(
        initial=initial,
        timesteps=timesteps.astype(np.float32),
        coefficients=Coefficients(*(column.astype(np.float32) for column in columns)),
        noised=noised,
    )
