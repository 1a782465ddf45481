"""What a request says about the timesteps and noise of its sampler, checked against the sampler."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from easel_worker.sdxl.samplers.config import Config, SchedulerClass

SPACING = "timestep_spacing"
"""The field that a sampler takes if its class reads the config's key of this name."""


@dataclass(frozen=True)
class Schedule:
    """The request fields of these names; None, empty and 0 leave the model's config as it is."""

    timestep_spacing: str | None = None
    timesteps: tuple[int, ...] = ()
    sigmas: tuple[float, ...] = ()
    eta: float = 0.0


def apply_schedule(
    config: Config, schedule: Schedule, cls: SchedulerClass, name: str, steps: int
) -> Config:
    """The config of one image.

    Args:
        config: the model's.
        schedule: the request's.
        cls: the sampler's class.
        name: the sampler's name, for messages.
        steps: the number of steps.

    Raises:
        ValueError: the sampler does not take a field, or not this value. The text names it.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl.py#L120
    """
    for key in (SPACING, "timesteps", "sigmas", "eta"):
        taken = key in (cls.reads if key == SPACING else cls.accepts)
        if getattr(schedule, key) and not taken:
            raise ValueError(f"{name} takes no {key}: leave it out, or choose another scheduler")
    if schedule.timesteps and schedule.sigmas:
        raise ValueError("timesteps and sigmas cannot be combined: leave one of them out")
    if schedule.timesteps:
        _check_timesteps(config, schedule.timesteps, name, steps)
    if schedule.sigmas:
        _check_sigmas(schedule.sigmas, steps)
    return replace(
        config,
        timestep_spacing=schedule.timestep_spacing or config.timestep_spacing,
        timesteps=tuple(map(float, schedule.timesteps)),
        sigmas=schedule.sigmas,
        eta=schedule.eta,
    )


def _check_timesteps(config: Config, timesteps: tuple[int, ...], name: str, steps: int) -> None:
    if config.spacings:
        raise ValueError(
            f"{name} takes no timesteps, because it spaces sigmas: leave them out, or choose a "
            "scheduler without Karras, exponential or beta sigmas"
        )
    if config.timestep_type == "continuous" and config.prediction_type == "v_prediction":
        raise ValueError("timesteps must be left out: this model's timesteps are continuous")
    if len(timesteps) != steps:
        raise ValueError(f"timesteps has {len(timesteps)} entries, one for each of {steps} steps")
    if any(now <= then for now, then in pairwise(timesteps)):
        raise ValueError("timesteps must be descending")
    last = config.num_train_timesteps - 1
    if timesteps[0] > last or timesteps[-1] < 0:
        raise ValueError(f"timesteps must be 0 to {last}")


def _check_sigmas(sigmas: tuple[float, ...], steps: int) -> None:
    if len(sigmas) != steps + 1:
        raise ValueError(f"sigmas has {len(sigmas)} entries; {steps} steps need {steps + 1}")
    if not np.all(np.isfinite(sigmas)) or sigmas[-1] < 0.0:
        raise ValueError("sigmas must be finite numbers, 0 or more")
    if any(now <= then for now, then in pairwise(sigmas)):
        raise ValueError("sigmas must be descending")
