"""Noise levels of models that were trained with EDM's preconditioning.

https://arxiv.org/abs/2206.00364
"""

import numpy as np

from easel_worker.sdxl.samplers import schedules
from easel_worker.sdxl.samplers.config import Config
from easel_worker.sdxl.samplers.schedules import Floats
from easel_worker.sdxl.samplers.table import Table, first_order, levels, levels_after


def edm_euler(config: Config, steps: int) -> Table:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_edm_euler.py#L427"""
    plan = sigmas(config, steps)
    if config.final_sigmas_type == "sigma_min":
        plan[-1] = plan[-2]
    now = levels(plan[:-1], config.sigma_data)
    return first_order(
        config,
        timesteps(plan),
        now,
        levels_after(plan, config.sigma_data),
        initial=initial(config, plan),
    )


def sigmas(config: Config, steps: int) -> Floats:
    """The noise levels, descending, [steps + 1].

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_edm_euler.py#L268
    """
    assert config.sigma_max is not None
    assert config.sigma_min is not None
    if config.sigma_schedule == "exponential":
        plan = schedules.exponential_sigmas(config.sigma_max, config.sigma_min, steps)
        # diffusers spaces them from the lowest: one step starts there.
        plan = plan if steps > 1 else np.array([config.sigma_min])
    else:
        plan = schedules.karras_sigmas(config.sigma_max, config.sigma_min, steps, config.rho)
    return np.append(plan, config.sigma_min if config.final_sigmas_type == "sigma_min" else 0.0)


def timesteps(plan: Floats) -> Floats:
    """What the UNet is told of the noise levels, [steps], from [steps + 1] of them."""
    return np.asarray(0.25 * np.log(plan[:-1]))


def initial(config: Config, plan: Floats) -> float:
    """The factor from unit normal noise to the first sample."""
    assert config.sigma_max is not None
    alpha = levels(plan[:1], config.sigma_data).alpha[0]
    return float(np.sqrt(config.sigma_max**2 + 1.0) * alpha)
