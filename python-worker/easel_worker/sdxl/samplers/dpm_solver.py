"""DPM-Solver++ of second order, multistep, midpoint: https://arxiv.org/abs/2211.01095."""

import numpy as np

from easel_worker.sdxl.samplers import schedules
from easel_worker.sdxl.samplers.config import Settings
from easel_worker.sdxl.samplers.schedules import Floats
from easel_worker.sdxl.samplers.table import Mix, Table, build, image_prediction, levels


def dpmpp_2m(settings: Settings, steps: int) -> Table:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_dpmsolver_multistep.py#L921"""
    times, sigmas = _plan(settings, steps)
    now, then = levels(sigmas[:-1]), levels(sigmas[1:])
    image = image_prediction(settings, now)
    keep = then.sigma / now.sigma
    gain = then.alpha * (1.0 - sigmas[1:] / sigmas[:-1])
    momentum = _momentum(settings, sigmas)
    on_image = gain * (1.0 + momentum)
    following = Mix(keep + on_image * image.sample, on_image * image.output)
    return build(1.0, times, image, following, previous=-gain * momentum)


def _plan(settings: Settings, steps: int) -> tuple[Floats, Floats]:
    """Timesteps [steps] and sigmas [steps + 1]."""
    training = schedules.sigmas_of(schedules.alphas_cumprod(settings))
    times = schedules.timesteps_before_zero(settings, steps)
    sigmas = schedules.sigmas_at(training, times)
    if settings.use_karras_sigmas:
        sigmas = schedules.karras_sigmas(settings, training[-1], training[0], steps)
        times = schedules.timesteps_at(training, sigmas)
        # Diffusers keeps whole timesteps: rounded, but cut off for the cosine schedule.
        times = np.floor(times) if settings.beta_schedule == "squaredcos_cap_v2" else times.round()
    return times, np.append(sigmas, schedules.final_sigma(settings, training))


def _momentum(settings: Settings, sigmas: Floats) -> Floats:
    """By how much of the last change of prediction each step extrapolates; 0 is first order."""
    steps = len(sigmas) - 1
    momentum = np.zeros(steps)
    end = steps - 1 if _ends_first_order(settings, steps) else steps
    if settings.solver_order == 2 and end > 1:
        widths = -np.diff(np.log(sigmas[: end + 1]))
        momentum[1:end] = widths[1:] / (2.0 * widths[:-1])
    return momentum


def _ends_first_order(settings: Settings, steps: int) -> bool:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_dpmsolver_multistep.py#L1239"""
    few = settings.lower_order_final and steps < 15
    return few or settings.euler_at_final or settings.final_sigmas_type == "zero"
