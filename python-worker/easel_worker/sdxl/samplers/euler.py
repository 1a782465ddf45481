"""Euler's method, plain and ancestral.

https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_discrete.py#L350
"""

from dataclasses import dataclass

import numpy as np

from easel_worker.sdxl.samplers import schedules
from easel_worker.sdxl.samplers.config import Settings
from easel_worker.sdxl.samplers.schedules import Floats
from easel_worker.sdxl.samplers.table import Levels, Table, first_order, levels


@dataclass(frozen=True)
class _Plan:
    """Timesteps [steps], sigmas [steps + 1], and the scale of the first sample."""

    timesteps: Floats
    sigmas: Floats
    initial: float


def euler(settings: Settings, steps: int) -> Table:
    """Along the line through the predicted image, which at unit variance is DDIM's update.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_discrete.py#L755
    """
    plan = _plan(settings, steps)
    now, alpha = levels(plan.sigmas[:-1]), _alpha_after(plan.sigmas)
    then = Levels(alpha, plan.sigmas[1:] * alpha)
    return first_order(settings, plan.timesteps, now, then, initial=plan.initial)


def euler_ancestral(settings: Settings, steps: int) -> Table:
    """A longer step, made up for with fresh noise.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_ancestral_discrete.py#L445
    """
    plan = _plan(settings, steps)
    source, target = plan.sigmas[:-1], plan.sigmas[1:]
    fresh = np.sqrt(target**2 * (source**2 - target**2) / source**2)
    kept = np.sqrt(target**2 - fresh**2)
    alpha = _alpha_after(plan.sigmas)
    return first_order(
        settings,
        plan.timesteps,
        levels(source),
        Levels(alpha, kept * alpha),
        initial=plan.initial,
        fresh_noise=fresh * alpha,
    )


def _plan(settings: Settings, steps: int) -> _Plan:
    training = schedules.sigmas_of(schedules.alphas_cumprod(settings))
    times = schedules.timesteps(settings, steps)
    sigmas = schedules.sigmas_at(training, times)
    if settings.use_karras_sigmas:
        sigmas = schedules.karras_sigmas(settings, sigmas[0], sigmas[-1], steps)
        times = schedules.timesteps_at(training, sigmas)
    sigmas = np.append(sigmas, schedules.final_sigma(settings, training))
    return _Plan(times, sigmas, _initial(settings, sigmas))


def _initial(settings: Settings, sigmas: Floats) -> float:
    """A little below 1, but for leading timesteps.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_discrete.py#L278
    """
    highest = sigmas.max()
    start = np.sqrt(highest**2 + 1.0) if settings.timestep_spacing == "leading" else highest
    return float(start / np.sqrt(sigmas[0] ** 2 + 1.0))


def _alpha_after(sigmas: Floats) -> Floats:
    """How much of the image each step's result has, [steps]."""
    alpha = levels(sigmas[1:]).alpha
    # The last result is for the decoder and not for the UNet: all of the image, as in diffusers.
    alpha[-1] = 1.0
    return alpha
