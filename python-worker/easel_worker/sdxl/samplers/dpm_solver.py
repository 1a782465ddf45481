"""The multistep DPM-Solver++ of orders 1 to 3, with and without fresh noise.

https://arxiv.org/abs/2211.01095
"""

from dataclasses import replace

import numpy as np

from easel_worker.sdxl.samplers import edm, schedules
from easel_worker.sdxl.samplers.config import Config
from easel_worker.sdxl.samplers.schedules import Floats
from easel_worker.sdxl.samplers.table import Table, Update, from_update, levels, levels_after

SDE = "sde-dpmsolver++"
"""The algorithm_type with fresh noise."""

_NO_STEP = 1e-7
"""The largest gain of a step from a noise level to the same one."""

_FEW = 15
"""With fewer steps than this, lower_order_final lowers the order of the last two steps."""


def dpmpp_2m(config: Config, steps: int) -> Table:
    """Of order 2, or of order 1 if the config says so."""
    return _dpm_solver(_order_2(config), steps)


def dpmpp_2m_sde(config: Config, steps: int) -> Table:
    """The same with fresh noise."""
    return _dpm_solver(_with_noise(_order_2(config)), steps)


def dpmpp_3m(config: Config, steps: int) -> Table:
    """Of order 3."""
    return _dpm_solver(replace(config, algorithm_type="dpmsolver++", solver_order=3), steps)


def dpmpp_3m_sde(config: Config, steps: int) -> Table:
    """The same with fresh noise."""
    return _dpm_solver(_with_noise(replace(config, solver_order=3)), steps)


def edm_dpmpp_2m(config: Config, steps: int) -> Table:
    """Of order 2, or of order 1 if the config says so, for EDM models."""
    return _edm_dpm_solver(_order_2(config), steps)


def edm_dpmpp_2m_sde(config: Config, steps: int) -> Table:
    """The same with fresh noise."""
    return _edm_dpm_solver(_with_noise(_order_2(config)), steps)


def edm_dpmpp_3m(config: Config, steps: int) -> Table:
    """Of order 3, for EDM models."""
    return _edm_dpm_solver(replace(config, algorithm_type="dpmsolver++", solver_order=3), steps)


def _order_2(config: Config) -> Config:
    order = min(config.solver_order, 2)
    return replace(config, algorithm_type="dpmsolver++", solver_order=order)


def _with_noise(config: Config) -> Config:
    return replace(config, algorithm_type=SDE)


def _dpm_solver(config: Config, steps: int) -> Table:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_dpmsolver_multistep.py#L1196"""
    # diffusers rounds the timesteps of Karras sigmas, unless the betas' schedule is the cosine one.
    rounds = config.use_karras_sigmas and config.beta_schedule != "squaredcos_cap_v2"
    times, sigmas = schedules.solver_plan(config, steps, rounds=rounds)
    return _multistep(config, times, sigmas, initial=1.0)


def _edm_dpm_solver(config: Config, steps: int) -> Table:
    """https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_edm_dpmsolver_multistep.py#L726"""
    sigmas = edm.sigmas(config, steps)
    return _multistep(config, edm.timesteps(sigmas), sigmas, initial=edm.initial(config, sigmas))


def _multistep(config: Config, times: Floats, sigmas: Floats, *, initial: float) -> Table:
    now = levels(sigmas[:-1], config.sigma_data)
    # The EDM class keeps its samples in sigma space, the other one at unit variance.
    then = (
        levels(sigmas[1:]) if config.sigma_data is None else levels_after(sigmas, config.sigma_data)
    )
    ratio = sigmas[1:] / sigmas[:-1]
    keep, gain, noise = then.sigma / now.sigma, 1.0 - ratio, None
    if config.algorithm_type == SDE:
        keep, gain = keep * ratio, 1.0 - ratio**2
        noise = then.sigma * np.sqrt(np.maximum(gain, 0.0))
    first, second = _changes(config, sigmas, gain)
    gain = then.alpha * gain
    update = Update(
        sample=keep,
        image=gain * (1.0 + first),
        previous=gain * (second - first),
        older=-gain * second,
        noise=noise,
    )
    return from_update(config, times, now, update, initial=initial)


def _changes(config: Config, sigmas: Floats, gain: Floats) -> tuple[Floats, Floats]:
    """By how much a step extrapolates, as shares of `gain`, [steps] each.

    Args:
        config: the solver's type and orders.
        sigmas: [steps + 1].
        gain: the predicted image's factor in a step of first order, where the image's factor is 1.

    Returns:
        The shares of the last change between predicted images, and of the change before it.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_dpmsolver_multistep.py#L1047
    """
    orders = _orders(config, len(gain))
    # A step to the noise level at which it starts changes nothing, at any order.
    orders[gain < _NO_STEP] = 1
    first, second = np.zeros_like(gain), np.zeros_like(gain)
    log_sigmas = np.log(sigmas[: np.count_nonzero(sigmas)])
    widths = -np.diff(log_sigmas)
    for step in np.flatnonzero(orders > 1):
        h, before = widths[step], widths[step - 1]
        if orders[step] == 2 and config.solver_type != "heun":
            first[step] = h / (2.0 * before)
            continue
        slope, curve = _integrals(config, h)
        slope, curve = slope / gain[step], curve / gain[step]
        if orders[step] == 2:
            first[step] = slope * h / before
            continue
        earlier = widths[step - 2]
        blend = (slope * before + curve * h) / (before + earlier)
        first[step] = (slope + blend) * h / before
        second[step] = -blend * h / earlier
    return first, second


def _integrals(config: Config, h: float) -> tuple[float, float]:
    """The factors of the predicted image's first and second derivative, over a step of width h."""
    if config.algorithm_type == SDE:
        decay, width = -np.expm1(-2.0 * h), 2.0 * h
        return 1.0 - decay / width, (decay - width) / width**2 - 0.5
    decay = -np.expm1(-h)
    return 1.0 - decay / h, -((h - decay) / h**2 - 0.5)


def _orders(config: Config, steps: int) -> Floats:
    """The order of each step, [steps]. An image's first step has no earlier prediction."""
    ran = np.arange(steps) - config.begin
    orders: Floats = np.minimum(np.maximum(ran, 0) + 1, config.solver_order)
    few = config.lower_order_final and steps < _FEW
    if few:
        orders[-2:] = np.minimum(orders[-2:], 2)
    if few or config.euler_at_final or config.final_sigmas_type == "zero":
        orders[-1] = 1
    return orders
