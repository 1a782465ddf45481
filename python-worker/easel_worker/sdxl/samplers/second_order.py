"""Samplers that evaluate the UNet twice in each step but the last: Heun's method and DPM-2.

The first evaluation leads to a helper sample, the second one from the *beginning* of the step to
its end. No lane keeps that beginning: the helper is (1 - r) · image + r · beginning, so the second
row computes it back from the helper and the image that the first evaluation predicted.
"""

from dataclasses import dataclass

import numpy as np

from easel_worker.sdxl.samplers import schedules
from easel_worker.sdxl.samplers.config import Config
from easel_worker.sdxl.samplers.euler import initial
from easel_worker.sdxl.samplers.schedules import Floats
from easel_worker.sdxl.samplers.table import Levels, Table, Update, from_update, levels


def heun(config: Config, steps: int) -> Table:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_heun_discrete.py#L558"""
    times, sigmas, _ = _plan(config, steps, rounds=False)
    source, target = sigmas[:-2], sigmas[1:-1]
    half = (target - source) / 2.0
    second = _Second(
        # The slopes at both ends, each halved: (beginning - image) / source, and with the helper.
        beginning=1.0 + half / source,
        helper=half / target,
        image=-half / target,
        previous=-half / source,
    )
    return _table(config, _pair(times, times[1:]), sigmas, helper=target, second=second)


def dpm_2(config: Config, steps: int) -> Table:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_k_dpm_2_discrete.py#L570"""
    times, sigmas, training = _plan(config, steps, rounds=True)
    source, target = sigmas[:-2], sigmas[1:-1]
    helper = np.sqrt(source * target)
    second = _midpoint(source, helper, target)
    between = schedules.timesteps_at(training, helper)
    return _table(config, _pair(times, between), sigmas, helper=helper, second=second)


def dpm_2_ancestral(config: Config, steps: int) -> Table:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_k_dpm_2_ancestral_discrete.py#L585"""
    times, sigmas, training = _plan(config, steps, rounds=True)
    source, target = sigmas[:-2], sigmas[1:-1]
    fresh = np.sqrt(target**2 * (source**2 - target**2) / source**2)
    down = np.sqrt(target**2 - fresh**2)
    helper = np.sqrt(source * down)
    second = _midpoint(source, helper, down)
    between = schedules.timesteps_at(training, helper)
    return _table(config, _pair(times, between), sigmas, helper=helper, second=second, fresh=fresh)


@dataclass(frozen=True)
class _Second:
    """The end of each step but the last in sigma space, as a linear combination, [steps - 1].

    Attributes:
        beginning: the factor of the sample at the beginning of the step.
        helper: of the sample that the second evaluation gets.
        image: of the image that the second evaluation predicts.
        previous: of the image that the first evaluation predicted.
    """

    beginning: Floats
    helper: Floats
    image: Floats
    previous: Floats


def _midpoint(source: Floats, helper: Floats, target: Floats) -> _Second:
    """A step from source to target along the slope (helper - image) / σ_helper."""
    slope = (target - source) / helper
    return _Second(np.ones_like(slope), slope, -slope, np.zeros_like(slope))


def _plan(config: Config, steps: int, *, rounds: bool) -> tuple[Floats, Floats, Floats]:
    """Timesteps [steps], sigmas [steps + 1], and the sigmas of training.

    With `rounds` the timesteps of Karras sigmas are integers.
    """
    training = schedules.sigmas_of(schedules.alphas_cumprod(config))
    times = schedules.timesteps(config, steps)
    sigmas = schedules.sigmas_at(training, times)
    spaced = schedules.spaced_sigmas(config, sigmas[0], sigmas[-1], steps)
    if spaced is not None:
        sigmas, times = spaced, schedules.timesteps_at(training, spaced)
        times = times.round() if rounds and config.use_karras_sigmas else times
    return times, np.append(sigmas, 0.0), training


def _pair(first: Floats, second: Floats) -> Floats:
    """Interleave the values of first evaluations [steps] and of second ones [steps - 1]."""
    both = np.empty(len(first) + len(second))
    both[::2], both[1::2] = first, second
    return both


def _table(
    config: Config,
    times: Floats,
    sigmas: Floats,
    *,
    helper: Floats,
    second: _Second,
    fresh: Floats | None = None,
) -> Table:
    """Both rows of each step, and one row for the last step, which is Euler's.

    Args:
        config: for the prediction type.
        times: [evaluations].
        sigmas: [steps + 1], the last one 0.
        helper: the sigmas of the helper samples, [steps - 1].
        second: what the second evaluations lead to.
        fresh: the fresh noise after each step but the last, [steps - 1].
    """
    source, target = sigmas[:-2], sigmas[1:-1]
    evaluated = _pair(sigmas[:-1], helper)
    results = np.append(_pair(helper, target), 0.0)
    ratio = np.append(helper / source, 0.0)
    back = 1.0 / ratio[:-1]
    zeros = np.zeros_like(helper)
    in_sigma_space = {
        "sample": _pair(ratio, second.helper + second.beginning * back),
        "image": _pair(1.0 - ratio, second.image),
        "previous": _pair(np.zeros_like(ratio), second.previous + second.beginning * (1.0 - back)),
        "noise": _pair(np.zeros_like(ratio), zeros if fresh is None else fresh),
    }
    now = levels(evaluated)
    alpha = levels(results).alpha
    update = Update(
        sample=in_sigma_space["sample"] * alpha / now.alpha,
        image=in_sigma_space["image"] * alpha,
        previous=in_sigma_space["previous"] * alpha,
        noise=in_sigma_space["noise"] * alpha,
    )
    # diffusers adds noise by the sigma at which the step ends, also to DPM-2's helper samples.
    noised = Levels(now.alpha, _pair(sigmas[:-1], target) * now.alpha)
    first = initial(config, sigmas)
    return from_update(config, times, now, update, initial=first, noised=noised)
