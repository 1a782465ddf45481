"""Noise schedules: the timesteps and noise levels of an image, in numpy float64 on the host.

A noise level has two forms here. `alphas_cumprod`, as in diffusers, is the image's share of the
variance. `sigma` is the noise's standard deviation over the image's: sqrt((1 - ac) / ac).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from easel_worker.sdxl.samplers.config import Config

Floats = NDArray[np.floating[Any]]
"""Host arrays, float64 throughout."""

_ZERO_SNR_FLOOR = 2.0**-24
"""Replaces a last alphas_cumprod of 0, so that its sigma is finite."""

_KARRAS_RHO = 7.0

_BETA_SHAPE = 0.6
"""Both parameters of the beta distribution that spaces beta sigmas."""


def alphas_cumprod(config: Config) -> Floats:
    """The image's share of the variance at each training timestep, [num_train_timesteps].

    Rounds to float32 wherever diffusers does. 1 - 0.0001 in float32 keeps only 4 digits of 0.0001,
    so the lowest sigma depends on it, and all Karras sigmas depend on the lowest sigma.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_ddim.py#L212
    """
    alphas = np.float32(1.0) - _betas(config).astype(np.float32)
    levels: Floats = np.cumprod(alphas, dtype=np.float64)
    if config.rescale_betas_zero_snr:
        levels = _rescale_to_zero_snr(levels)
    return levels.astype(np.float32).astype(np.float64)


def sigmas_of(levels: Floats) -> Floats:
    """Convert alphas_cumprod to sigmas, same shape. A level of 0 becomes `_ZERO_SNR_FLOOR`.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_discrete.py#L248
    """
    finite = np.where(levels <= 0.0, _ZERO_SNR_FLOOR, levels)
    return np.asarray(np.sqrt((1.0 - finite) / finite))


def timesteps(config: Config, steps: int) -> Floats:
    """The timesteps of `steps` steps, descending, [steps]; with linspace they are fractions.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_discrete.py#L395
    """
    if config.timesteps:
        return np.array(config.timesteps, dtype=np.float64)
    last = config.num_train_timesteps
    match config.timestep_spacing:
        case "linspace":
            return np.linspace(0, last - 1, steps)[::-1]
        case "leading":
            return np.arange(steps)[::-1] * float(last // steps) + config.steps_offset
        case "trailing":
            return _trailing(last, steps)
        case other:
            raise ValueError(f"unknown timestep_spacing {other!r}")


def timesteps_before_zero(config: Config, steps: int) -> Floats:
    """DPM-Solver's timesteps, integers, [steps]: it spaces steps + 1 points and drops the last one.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_dpmsolver_multistep.py#L410
    """
    if config.timesteps:
        return np.array(config.timesteps, dtype=np.float64)
    last = config.num_train_timesteps
    match config.timestep_spacing:
        case "linspace":
            return np.linspace(0, last - 1, steps + 1).round()[:0:-1]
        case "leading":
            return np.arange(1, steps + 1)[::-1] * float(last // (steps + 1)) + config.steps_offset
        case "trailing":
            return _trailing(last, steps)
        case other:
            raise ValueError(f"unknown timestep_spacing {other!r}")


def sigmas_at(training: Floats, times: Floats) -> Floats:
    """Sigmas at timesteps [steps], fractions allowed, interpolated in the sigmas of training."""
    return np.interp(times, np.arange(len(training)), training)


def spaced_sigmas(config: Config, highest: float, lowest: float, steps: int) -> Floats | None:
    """Karras, exponential or beta sigmas, [steps]; None if the config asks for none of them.

    Args:
        config: says which, and may replace both ends by sigma_max and sigma_min.
        highest: the first sigma.
        lowest: the last sigma.
        steps: their number.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_discrete.py#L517
    """
    first = highest if config.sigma_max is None else config.sigma_max
    last = lowest if config.sigma_min is None else config.sigma_min
    if config.use_karras_sigmas:
        return karras_sigmas(first, last, steps, _KARRAS_RHO)
    if config.use_exponential_sigmas:
        return exponential_sigmas(first, last, steps)
    if config.use_beta_sigmas:
        quantiles = betaincinv(_BETA_SHAPE, _BETA_SHAPE, 1.0 - np.linspace(0.0, 1.0, steps))
        return np.asarray(last + quantiles * (first - last))
    return None


def karras_sigmas(first: float, last: float, steps: int, rho: float) -> Floats:
    """Sigmas evenly spaced in their roots of degree rho, [steps].

    Equation 5 of https://arxiv.org/abs/2206.00364.
    """
    ramp = np.linspace(0.0, 1.0, steps)
    roots = first ** (1 / rho), last ** (1 / rho)
    return np.asarray((roots[0] + ramp * (roots[1] - roots[0])) ** rho)


def exponential_sigmas(first: float, last: float, steps: int) -> Floats:
    """Sigmas evenly spaced in their logarithms, [steps]."""
    return np.exp(np.linspace(math.log(first), math.log(last), steps))


def timesteps_at(training: Floats, sigmas: Floats) -> Floats:
    """The timesteps, as fractions, that have these sigmas in training; linear in log sigma.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_discrete.py#L483
    """
    known = np.log(training.astype(np.float32))  # as diffusers: a timestep may lie on an edge
    return np.interp(np.log(sigmas), known, np.arange(len(training)))


def solver_plan(config: Config, steps: int, *, rounds: bool) -> tuple[Floats, Floats]:
    """Timesteps [steps] and sigmas [steps + 1] of the DPM-Solver classes and UniPC.

    Args:
        config: the scheduler's.
        steps: their number.
        rounds: whether the timesteps of spaced sigmas are rounded. diffusers uses integer timesteps
            and truncates them otherwise.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_dpmsolver_multistep.py#L367
    """
    training = sigmas_of(alphas_cumprod(config))
    times = timesteps_before_zero(config, steps)
    sigmas = sigmas_at(training, times)
    spaced = spaced_sigmas(config, training[-1], training[0], steps)
    if spaced is not None:
        sigmas, times = spaced, timesteps_at(training, spaced)
        times = times.round() if rounds else np.floor(times)
    return times, np.append(sigmas, final_sigma(config, training))


def final_sigma(config: Config, training: Floats) -> float:
    """The sigma after the last step."""
    return float(training[0]) if config.final_sigmas_type == "sigma_min" else 0.0


def _trailing(last: int, steps: int) -> Floats:
    # For some counts (61, 103, ...) arange gives one element too many. diffusers keeps it, as the
    # timestep -1.
    return np.arange(last, 0, -last / steps)[:steps].round() - 1.0


def _betas(config: Config) -> Floats:
    count = config.num_train_timesteps
    if config.trained_betas is not None:
        return np.asarray(config.trained_betas, dtype=np.float64)
    match config.beta_schedule:
        case "linear":
            return np.linspace(config.beta_start, config.beta_end, count)
        case "scaled_linear":
            ends = math.sqrt(config.beta_start), math.sqrt(config.beta_end)
            return np.linspace(*ends, count) ** 2
        case "squaredcos_cap_v2":
            return _cosine_betas(count)
        case other:
            raise ValueError(f"unknown beta_schedule {other!r}")


def _cosine_betas(count: int) -> Floats:
    """Equation 17 of https://arxiv.org/abs/2102.09672, each beta at most 0.999."""
    angles = (np.arange(count + 1) / count + 0.008) / 1.008 * (math.pi / 2)
    remaining = np.cos(angles) ** 2
    return np.asarray(np.minimum(1.0 - remaining[1:] / remaining[:-1], 0.999))


def _rescale_to_zero_snr(levels: Floats) -> Floats:
    """Shift and scale the levels so that the last one is 0 and the first one stays.

    Algorithm 1 of https://arxiv.org/abs/2305.08891.
    """
    root = np.sqrt(levels)
    rescaled = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    return np.asarray(rescaled**2)
