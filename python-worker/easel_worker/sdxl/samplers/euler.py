"""Euler's method, deterministic and ancestral.

https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_discrete.py#L350
"""

from dataclasses import dataclass

import numpy as np

from easel_worker.sdxl.samplers import schedules
from easel_worker.sdxl.samplers.config import Config
from easel_worker.sdxl.samplers.schedules import Floats
from easel_worker.sdxl.samplers.table import Levels, Table, first_order, levels, levels_after


@dataclass(frozen=True)
class _Plan:
    """Timesteps [steps], sigmas [steps + 1], and the scale of the initial noise."""

    timesteps: Floats
    sigmas: Floats
    initial: float


def euler(config: Config, steps: int) -> Table:
    """A straight step towards the predicted image; at unit variance it equals DDIM's update.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_discrete.py#L755
    """
    plan = _plan(config, steps)
    now, then = levels(plan.sigmas[:-1]), levels_after(plan.sigmas)
    return first_order(config, plan.timesteps, now, then, initial=plan.initial)


def euler_ancestral(config: Config, steps: int) -> Table:
    """A step past the target noise level, and fresh noise that brings the sample back to it.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_ancestral_discrete.py#L445
    """
    plan = _plan(config, steps)
    source, target = plan.sigmas[:-1], plan.sigmas[1:]
    fresh = np.sqrt(target**2 * (source**2 - target**2) / source**2)
    kept = np.sqrt(target**2 - fresh**2)
    alpha = levels_after(plan.sigmas).alpha
    return first_order(
        config,
        plan.timesteps,
        levels(source),
        Levels(alpha, kept * alpha),
        initial=plan.initial,
        fresh_noise=fresh * alpha,
    )


def _plan(config: Config, steps: int) -> _Plan:
    training = schedules.sigmas_of(schedules.alphas_cumprod(config))
    sigmas: Floats
    times: Floats
    if config.sigmas:
        sigmas = np.array(config.sigmas, dtype=np.float64)
        times = schedules.timesteps_at(training, sigmas[:-1])
    else:
        times = schedules.timesteps(config, steps)
        sigmas = schedules.sigmas_at(training, times)
        spaced = schedules.spaced_sigmas(config, sigmas[0], sigmas[-1], steps)
        if spaced is not None:
            sigmas, times = spaced, schedules.timesteps_at(training, spaced)
        sigmas = np.append(sigmas, schedules.final_sigma(config, training))
    if config.timestep_type == "continuous" and config.prediction_type == "v_prediction":
        times = 0.25 * np.log(sigmas[:-1])
    return _Plan(times, sigmas, initial(config, sigmas))


def initial(config: Config, sigmas: Floats) -> float:
    """The scale of the initial noise: slightly below 1, except with leading timesteps.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_discrete.py#L278
    """
    highest = sigmas.max()
    start = np.sqrt(highest**2 + 1.0) if config.timestep_spacing == "leading" else highest
    return float(start / np.sqrt(sigmas[0] ** 2 + 1.0))
