"""UniPC of orders 1 and 2: a predictor, and a corrector that costs no evaluation of its own.

https://arxiv.org/abs/2302.04867
"""

from dataclasses import dataclass

import numpy as np

from easel_worker.sdxl.samplers import schedules
from easel_worker.sdxl.samplers.config import Config, SchedulerError
from easel_worker.sdxl.samplers.schedules import Floats
from easel_worker.sdxl.samplers.table import Table, Update, from_update, levels


def unipc(config: Config, steps: int) -> Table:
    """A row corrects its sample by the new prediction, and predicts the next sample from that.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_unipc_multistep.py#L1153

    Raises:
        SchedulerError: the last step would divide by zero.
    """
    lowers_last = config.lower_order_final or config.solver_order == 1
    if config.final_sigmas_type == "zero" and not lowers_last:
        raise SchedulerError(
            "UniPCMultistepScheduler: lower_order_final=false in scheduler/scheduler_config.json "
            "divides by zero in the last step: set it to true, or final_sigmas_type to 'sigma_min'"
        )
    times, sigmas = _plan(config, steps)
    now, then = levels(sigmas[:-1]), levels(sigmas[1:])
    keep = then.sigma / now.sigma
    image, previous, older = np.zeros((3, steps))
    for step in range(steps):
        order = _order(config, step, steps)
        predicted = _predict(config, sigmas, then.alpha[step], step, order)
        image[step], previous[step] = predicted.new, predicted.last
        if step > config.begin and step - 1 not in config.disable_corrector:
            order = _order(config, step - 1, steps)
            change = _correct(config, sigmas, then.alpha[step - 1], step, order)
            image[step] += keep[step] * change.new
            previous[step] += keep[step] * change.last
            older[step] += keep[step] * change.before
    return from_update(config, times, now, Update(keep, image, previous, older))


@dataclass(frozen=True)
class _Images:
    """The factors of predicted images: the newest one, the last one and the one before."""

    new: float
    last: float = 0.0
    before: float = 0.0


def _predict(config: Config, sigmas: Floats, alpha: float, step: int, order: int) -> _Images:
    """What a step adds to its kept sample.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_unipc_multistep.py#L833
    """
    gain = alpha * (1.0 - sigmas[step + 1] / sigmas[step])
    if order == 1:
        return _Images(gain)
    h = np.log(sigmas[step] / sigmas[step + 1])
    before = np.log(sigmas[step - 1] / sigmas[step])
    momentum = -alpha * _scale(config, h) * 0.5 * h / before
    return _Images(gain + momentum, -momentum)


def _correct(config: Config, sigmas: Floats, alpha: float, step: int, order: int) -> _Images:
    """By what the corrected sample differs from the predicted one that the UNet got.

    Args:
        config: for the kind of solver.
        sigmas: [steps + 1].
        alpha: the image's factor in the sample.
        step: which sample.
        order: of the prediction that led to it.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_unipc_multistep.py#L962
    """
    h = np.log(sigmas[step - 1] / sigmas[step])
    scale = -alpha * _scale(config, h)
    if order == 1:
        return _Images(0.5 * scale, -0.5 * scale)
    before = np.log(sigmas[step - 2] / sigmas[step - 1])
    # The sample before the last one lies at `at` on the line on which the last step is 0 to 1.
    at = -before / h
    first = _phi(h, 1) / _scale(config, h)
    second = _phi(h, 2) * 2.0 / _scale(config, h)
    old, new = np.linalg.solve([[1.0, 1.0], [at, 1.0]], [first, second])
    # The predictor had half of the older slope: only the difference corrects.
    slope = scale * (old - 0.5) / at
    return _Images(scale * new, -scale * new - slope, slope)


def _scale(config: Config, h: float) -> float:
    """B(h) of bh1 or bh2."""
    return -h if config.solver_type == "bh1" else float(np.expm1(-h))


def _phi(h: float, index: int) -> float:
    """(e^z - 1) / z - 1 for index 1, and (that / z) - 1/2 for index 2, at z = -h."""
    first = float(np.expm1(-h)) / -h - 1.0
    return first if index == 1 else first / -h - 0.5


def _order(config: Config, step: int, steps: int) -> int:
    highest = config.solver_order
    if config.lower_order_final:
        highest = min(highest, steps - step)
    return min(highest, max(step - config.begin, 0) + 1)


def _plan(config: Config, steps: int) -> tuple[Floats, Floats]:
    """Timesteps [steps] and sigmas [steps + 1]."""
    times, sigmas = schedules.solver_plan(config, steps, rounds=config.use_karras_sigmas)
    # Spaced sigmas end where they were spaced to, and not at the lowest of training.
    if config.spacings and config.final_sigmas_type == "sigma_min":
        sigmas[-1] = sigmas[-2]
    return times, sigmas
