"""DDIM (https://arxiv.org/abs/2010.02502) and DDPM (https://arxiv.org/abs/2006.11239)."""

import numpy as np

from easel_worker.sdxl.samplers import schedules
from easel_worker.sdxl.samplers.config import Config
from easel_worker.sdxl.samplers.schedules import Floats
from easel_worker.sdxl.samplers.table import Levels, Table, Update, first_order, from_update


def ddim(config: Config, steps: int) -> Table:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_ddim.py#L384"""
    training = schedules.alphas_cumprod(config)
    times = _times("ddim", config, steps, len(training))
    # diffusers computes the target timestep of each step on its own: the next step may start from
    # another timestep.
    goals = times - len(training) // steps
    final = 1.0 if config.set_alpha_to_one else training[0]
    source = training[times.astype(int)]
    target = np.where(goals >= 0, training[np.maximum(goals, 0).astype(int)], final)
    now = Levels(np.sqrt(source), np.sqrt(1.0 - source))
    if config.eta == 0.0:
        then = Levels(np.sqrt(target), np.sqrt(1.0 - target))
        return first_order(config, times, now, then, initial=1.0)
    fresh = config.eta * np.sqrt(_variance(source, target))
    then = Levels(np.sqrt(target), np.sqrt(1.0 - target - fresh**2))
    return first_order(config, times, now, then, initial=1.0, fresh_noise=fresh)


def ddpm(config: Config, steps: int) -> Table:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_ddpm.py#L461"""
    training = schedules.alphas_cumprod(config)
    times = _times("ddpm", config, steps, len(training))
    source = training[times.astype(int)]
    target = np.append(source[1:], 1.0)
    beta = 1.0 - source / target
    variance = beta if config.variance_type == "fixed_large" else _variance(source, target)
    # Timestep 0 gets no noise: it is the last step of training.
    noise = np.where(times > 0, np.sqrt(np.maximum(variance, 1e-20)), 0.0)
    update = Update(
        sample=np.sqrt(source / target) * (1.0 - target) / (1.0 - source),
        image=np.sqrt(target) * beta / (1.0 - source),
        noise=noise,
    )
    return from_update(config, times, Levels(np.sqrt(source), np.sqrt(1.0 - source)), update)


def _times(name: str, config: Config, steps: int, trained: int) -> Floats:
    times = schedules.timesteps(config, steps).round()
    if times[0] >= trained:
        raise ValueError(
            f"{name} cannot run {steps} steps: the first timestep would be {times[0]:.0f}, and the "
            f"last training timestep is {trained - 1}"
        )
    return times


def _variance(source: Floats, target: Floats) -> Floats:
    """The variance of the noise that a step adds at most, from alphas_cumprod before and after.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_ddim.py#L262
    """
    return np.asarray((1.0 - target) / (1.0 - source) * (1.0 - source / target))
