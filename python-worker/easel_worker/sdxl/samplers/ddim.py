"""DDIM without fresh noise (eta = 0): https://arxiv.org/abs/2010.02502."""

import numpy as np

from easel_worker.sdxl.samplers import schedules
from easel_worker.sdxl.samplers.config import Config
from easel_worker.sdxl.samplers.table import Levels, Table, first_order


def ddim(config: Config, steps: int) -> Table:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_ddim.py#L384"""
    training = schedules.alphas_cumprod(config)
    times = schedules.timesteps(config, steps).round()
    if times[0] >= len(training):
        raise ValueError(
            f"ddim cannot run {steps} steps: the first timestep would be {times[0]:.0f}, and the "
            f"last training timestep is {len(training) - 1}"
        )
    # diffusers computes the target timestep of each step on its own: the next step may start from
    # another timestep.
    goals = times - len(training) // steps
    final = 1.0 if config.set_alpha_to_one else training[0]
    source = training[times.astype(int)]
    target = np.where(goals >= 0, training[np.maximum(goals, 0).astype(int)], final)
    now = Levels(np.sqrt(source), np.sqrt(1.0 - source))
    then = Levels(np.sqrt(target), np.sqrt(1.0 - target))
    return first_order(config, times, now, then, initial=1.0)
