"""DPM-Solver++(2M), the second-order multistep midpoint solver: https://arxiv.org/abs/2211.01095."""

import numpy as np

from easel_worker.sdxl.samplers import schedules
from easel_worker.sdxl.samplers.config import Config
from easel_worker.sdxl.samplers.schedules import Floats
from easel_worker.sdxl.samplers.table import Mix, Table, build, image_prediction, levels


def dpmpp_2m(config: Config, steps: int) -> Table:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_dpmsolver_multistep.py#L921"""
    times, sigmas = _plan(config, steps)
    now, then = levels(sigmas[:-1]), levels(sigmas[1:])
    image = image_prediction(config, now)
    keep = then.sigma / now.sigma
    gain = then.alpha * (1.0 - sigmas[1:] / sigmas[:-1])
    momentum = _momentum(config, sigmas)
    on_image = gain * (1.0 + momentum)
    following = Mix(keep + on_image * image.sample, on_image * image.output)
    return build(1.0, times, image, following, previous=-gain * momentum)


def _plan(config: Config, steps: int) -> tuple[Floats, Floats]:
    """Timesteps [steps] and sigmas [steps + 1]."""
    training = schedules.sigmas_of(schedules.alphas_cumprod(config))
    times = schedules.timesteps_before_zero(config, steps)
    sigmas = schedules.sigmas_at(training, times)
    if config.use_karras_sigmas:
        sigmas = schedules.karras_sigmas(config, training[-1], training[0], steps)
        times = schedules.timesteps_at(training, sigmas)
        # diffusers uses integer timesteps: it truncates for the cosine schedule and rounds for the
        # others.
        times = np.floor(times) if config.beta_schedule == "squaredcos_cap_v2" else times.round()
    return times, np.append(sigmas, schedules.final_sigma(config, training))


def _momentum(config: Config, sigmas: Floats) -> Floats:
    """The share of the last change in the prediction that each step adds; 0 is first order."""
    steps = len(sigmas) - 1
    momentum = np.zeros(steps)
    end = steps - 1 if _ends_first_order(config, steps) else steps
    if config.solver_order == 2 and end > 1:
        widths = -np.diff(np.log(sigmas[: end + 1]))
        momentum[1:end] = widths[1:] / (2.0 * widths[:-1])
    return momentum


def _ends_first_order(config: Config, steps: int) -> bool:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_dpmsolver_multistep.py#L1239"""
    few = config.lower_order_final and steps < 15
    return few or config.euler_at_final or config.final_sigmas_type == "zero"
