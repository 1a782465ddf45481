"""Samplers of distilled models: LCM (https://arxiv.org/abs/2310.04378) and TCD
(https://arxiv.org/abs/2402.19159)."""

import numpy as np

from easel_worker.sdxl.samplers import schedules
from easel_worker.sdxl.samplers.config import Config
from easel_worker.sdxl.samplers.schedules import Floats
from easel_worker.sdxl.samplers.table import Levels, Table, Update, first_order, from_update

_SIGMA_DATA = 0.5
"""LCM's boundary condition has the name and value of EDM's, and is for all models."""


def lcm(config: Config, steps: int) -> Table:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_lcm.py#L569"""
    training = schedules.alphas_cumprod(config)
    times = _timesteps(config, steps)
    source = training[times.astype(int)]
    # The last result is the predicted image, without fresh noise.
    target = np.append(source[1:], 1.0)
    scaled = times * config.timestep_scaling
    skip = _SIGMA_DATA**2 / (scaled**2 + _SIGMA_DATA**2)
    out = scaled / np.sqrt(scaled**2 + _SIGMA_DATA**2)
    update = Update(
        sample=np.sqrt(target) * skip,
        image=np.sqrt(target) * out,
        noise=np.sqrt(1.0 - target),
    )
    return from_update(config, times, _levels(source), update)


def tcd(config: Config, steps: int) -> Table:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_tcd.py#L594"""
    training = schedules.alphas_cumprod(config)
    times = _timesteps(config, steps)
    goals = np.append(times[1:], 0.0)
    # As diffusers in float32, because a product that is nearly whole may round either way.
    between = np.floor(np.float32(1.0 - config.eta) * goals.astype(np.float32)).astype(int)
    target, denoised = training[goals.astype(int)], training[between]
    keep = np.sqrt(target / denoised)
    fresh = np.sqrt(1.0 - target / denoised)
    keep[-1], fresh[-1] = 1.0, 0.0
    then = Levels(keep * np.sqrt(denoised), keep * np.sqrt(1.0 - denoised))
    source = training[times.astype(int)]
    return first_order(config, times, _levels(source), then, initial=1.0, fresh_noise=fresh)


def _levels(alphas_cumprod: Floats) -> Levels:
    return Levels(np.sqrt(alphas_cumprod), np.sqrt(1.0 - alphas_cumprod))


def _timesteps(config: Config, steps: int) -> Floats:
    """Timesteps of the distillation's own schedule, evenly spread, [steps].

    Raises:
        ValueError: the schedule has fewer.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_lcm.py#L402
    """
    if config.timesteps:
        return np.array(config.timesteps, dtype=np.float64)
    known = config.original_inference_steps
    if steps > known:
        raise ValueError(
            f"{steps} steps are not possible: the model was distilled on {known} timesteps "
            f"(original_inference_steps), choose 1 to {known}"
        )
    distilled: Floats = np.arange(known, 0, -1) * (config.num_train_timesteps // known) - 1.0
    chosen = np.floor(np.linspace(0, known, steps, endpoint=False)).astype(int)
    return np.asarray(distilled[chosen])
