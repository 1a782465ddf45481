"""DDIM without its optional noise (eta = 0): https://arxiv.org/abs/2010.02502."""

import numpy as np

from easel_worker.sdxl.samplers import schedules
from easel_worker.sdxl.samplers.config import Settings
from easel_worker.sdxl.samplers.table import Levels, Table, first_order


def ddim(settings: Settings, steps: int) -> Table:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_ddim.py#L384"""
    training = schedules.alphas_cumprod(settings)
    times = schedules.timesteps(settings, steps).round()
    if times[0] >= len(training):
        raise ValueError(f"ddim cannot make {steps} steps: they would begin after the noisiest")
    # Each step's own idea of the next timestep; the next step itself may take another one.
    goals = times - len(training) // steps
    final = 1.0 if settings.set_alpha_to_one else training[0]
    source = training[times.astype(int)]
    target = np.where(goals >= 0, training[np.maximum(goals, 0).astype(int)], final)
    now = Levels(np.sqrt(source), np.sqrt(1.0 - source))
    then = Levels(np.sqrt(target), np.sqrt(1.0 - target))
    return first_order(settings, times, now, then, initial=1.0)
