"""Noise schedules: timesteps and noise levels of a run, in numpy float64 on the host.

Two ways to name a noise level appear here. Diffusers' `alphas_cumprod` is the variance that is left
of the image; `sigma` is the noise's standard deviation over the image's: sqrt((1 - ac) / ac).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from easel_worker.sdxl.samplers.config import Settings

Floats = NDArray[np.floating[Any]]
"""Host arrays, float64 throughout."""

_ZERO_SNR_FLOOR = 2.0**-24
"""What stands for the last alphas_cumprod when it would be 0, so that its sigma is finite."""

_KARRAS_RHO = 7.0


def alphas_cumprod(settings: Settings) -> Floats:
    """The image's remaining variance at each training timestep, [num_train_timesteps].

    Rounded to float32 wherever diffusers does: 1 - 0.0001 and back is left with 4 digits, and the
    lowest sigma with it, on which all Karras sigmas depend.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_ddim.py#L212
    """
    alphas = np.float32(1.0) - _betas(settings).astype(np.float32)
    levels: Floats = np.cumprod(alphas, dtype=np.float64)
    if settings.rescale_betas_zero_snr:
        levels = _rescale_to_zero_snr(levels)
    return levels.astype(np.float32).astype(np.float64)


def sigmas_of(levels: Floats) -> Floats:
    """alphas_cumprod as sigmas, same shape. A level of 0 is raised to a tiny one.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_discrete.py#L248
    """
    finite = np.where(levels <= 0.0, _ZERO_SNR_FLOOR, levels)
    return np.asarray(np.sqrt((1.0 - finite) / finite))


def timesteps(settings: Settings, steps: int) -> Floats:
    """The timesteps that a run of `steps` visits, descending, [steps]; linspace ones are fractions.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_discrete.py#L395
    """
    last = settings.num_train_timesteps
    match settings.timestep_spacing:
        case "linspace":
            return np.linspace(0, last - 1, steps)[::-1]
        case "leading":
            return np.arange(steps)[::-1] * float(last // steps) + settings.steps_offset
        case "trailing":
            return _trailing(last, steps)
        case other:
            raise ValueError(f"unknown timestep_spacing {other!r}")


def timesteps_before_zero(settings: Settings, steps: int) -> Floats:
    """The same for DPM-Solver, whole numbers: it plans steps + 1 points and leaves out the last.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_dpmsolver_multistep.py#L410
    """
    last = settings.num_train_timesteps
    match settings.timestep_spacing:
        case "linspace":
            return np.linspace(0, last - 1, steps + 1).round()[:0:-1]
        case "leading":
            return (
                np.arange(1, steps + 1)[::-1] * float(last // (steps + 1)) + settings.steps_offset
            )
        case "trailing":
            return _trailing(last, steps)
        case other:
            raise ValueError(f"unknown timestep_spacing {other!r}")


def sigmas_at(training: Floats, times: Floats) -> Floats:
    """Sigmas at timesteps [steps], which may be fractions, from those of all training timesteps."""
    return np.interp(times, np.arange(len(training)), training)


def karras_sigmas(settings: Settings, highest: float, lowest: float, steps: int) -> Floats:
    """Sigmas from highest to lowest, evenly spaced in their 7th root, [steps].

    Equation 5 of https://arxiv.org/abs/2206.00364.
    """
    first = highest if settings.sigma_max is None else settings.sigma_max
    final = lowest if settings.sigma_min is None else settings.sigma_min
    ramp = np.linspace(0.0, 1.0, steps)
    roots = first ** (1 / _KARRAS_RHO), final ** (1 / _KARRAS_RHO)
    return np.asarray((roots[0] + ramp * (roots[1] - roots[0])) ** _KARRAS_RHO)


def timesteps_at(training: Floats, sigmas: Floats) -> Floats:
    """Timesteps, as fractions, at which training's sigmas would be these; linear in log sigma.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_discrete.py#L483
    """
    known = np.log(training.astype(np.float32))  # as diffusers: a timestep may lie on an edge
    return np.interp(np.log(sigmas), known, np.arange(len(training)))


def final_sigma(settings: Settings, training: Floats) -> float:
    """The noise level that the last step goes to."""
    return float(training[0]) if settings.final_sigmas_type == "sigma_min" else 0.0


def _trailing(last: int, steps: int) -> Floats:
    # For some counts (61, 103, ...) arange gives one element too many, which diffusers keeps: -1.
    return np.arange(last, 0, -last / steps)[:steps].round() - 1.0


def _betas(settings: Settings) -> Floats:
    count = settings.num_train_timesteps
    if settings.trained_betas is not None:
        return np.asarray(settings.trained_betas, dtype=np.float64)
    match settings.beta_schedule:
        case "linear":
            return np.linspace(settings.beta_start, settings.beta_end, count)
        case "scaled_linear":
            ends = math.sqrt(settings.beta_start), math.sqrt(settings.beta_end)
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
    """Shift and scale so that the last level is 0 and the first stays.

    Algorithm 1 of https://arxiv.org/abs/2305.08891.
    """
    root = np.sqrt(levels)
    rescaled = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    return np.asarray(rescaled**2)
