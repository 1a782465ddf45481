"""The singlestep DPM-Solver++ of order 2, one evaluation of the UNet a step.

Steps come in pairs. The second step of a pair starts again at the beginning of the first one. No
lane keeps that beginning: the sample between is a combination of it and of the image that the first
step predicted, so the second step computes it back.

https://arxiv.org/abs/2211.01095, algorithm 1
"""

import numpy as np
from numpy.typing import NDArray

from easel_worker.sdxl.samplers import schedules
from easel_worker.sdxl.samplers.config import Config
from easel_worker.sdxl.samplers.table import Table, Update, from_update, levels


def dpm_solver_singlestep(config: Config, steps: int) -> Table:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_dpmsolver_singlestep.py#L829"""
    times, sigmas = schedules.solver_plan(config, steps, rounds=config.use_karras_sigmas)
    now, then = levels(sigmas[:-1]), levels(sigmas[1:])
    sample = then.sigma / now.sigma
    image = then.alpha * (1.0 - sigmas[1:] / sigmas[:-1])
    previous = np.zeros(steps)
    for step in np.flatnonzero(_second_of_a_pair(config, steps)):
        start = step - 1
        keep = then.sigma[step] / now.sigma[start]
        gain = then.alpha[step] * (1.0 - sigmas[step + 1] / sigmas[start])
        whole = np.log(sigmas[start] / sigmas[step + 1])
        share = _slope(config, whole, gain / then.alpha[step]) * whole
        share /= np.log(sigmas[start] / sigmas[step])
        back = keep / sample[start]
        sample[step] = back
        previous[step] = gain * (1.0 - share) - back * image[start]
        image[step] = gain * share
    return from_update(config, times, now, Update(sample, image, previous))


def _slope(config: Config, width: float, gain: float) -> float:
    """The factor of the change between both predicted images, as a share of the gain."""
    return (1.0 - gain / width) / gain if config.solver_type == "heun" else 0.5


def _second_of_a_pair(config: Config, steps: int) -> NDArray[np.bool_]:
    """Which steps are of order 2, [steps] of bool.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_dpmsolver_singlestep.py#L253
    """
    second: NDArray[np.bool_] = np.arange(steps) % 2 == 1
    lowers_last = config.lower_order_final or steps % 2 == 1 or config.final_sigmas_type == "zero"
    if config.solver_order == 1:
        second[:] = False
    elif lowers_last:
        second[-1] = False
    # An image that begins between the steps of a pair has no first one.
    second[config.begin] = False
    return second
