"""The samplers by name: (a model's scheduler configuration, a name, a step count) → a `Table`.

The host makes the table; the compiled denoising program applies one row of it (`table.advance`), so
no choice of scheduler or step count ever compiles anything.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from easel_worker.sdxl.samplers.config import (
    DDIM,
    DPM_SOLVER_MULTISTEP,
    EULER,
    EULER_ANCESTRAL,
    SchedulerClass,
    SchedulerError,
    Settings,
    read,
)
from easel_worker.sdxl.samplers.ddim import ddim
from easel_worker.sdxl.samplers.dpm_solver import dpmpp_2m
from easel_worker.sdxl.samplers.euler import euler, euler_ancestral
from easel_worker.sdxl.samplers.table import Table

SchedulerConfig = Mapping[str, Any]
"""The contents of scheduler/scheduler_config.json."""


@dataclass(frozen=True)
class _Sampler:
    reads: SchedulerClass
    make: Callable[[Settings, int], Table]
    karras: bool = False

    def settings(self, config: SchedulerConfig) -> Settings:
        settings = read(config, self.reads)
        return replace(settings, use_karras_sigmas=True) if self.karras else settings


_SAMPLERS: Mapping[str, _Sampler] = {
    "euler": _Sampler(EULER, euler),
    "euler_karras": _Sampler(EULER, euler, karras=True),
    "euler_ancestral": _Sampler(EULER_ANCESTRAL, euler_ancestral),
    "ddim": _Sampler(DDIM, ddim),
    "dpmpp_2m": _Sampler(DPM_SOLVER_MULTISTEP, dpmpp_2m),
    "dpmpp_2m_karras": _Sampler(DPM_SOLVER_MULTISTEP, dpmpp_2m, karras=True),
}


def make_table(config: SchedulerConfig, scheduler: str, steps: int) -> Table:
    """The table of a run.

    Args:
        config: the model's scheduler configuration; spacing, betas, prediction type come from it.
        scheduler: one of the names that `offered` gives.
        steps: how many denoising steps, 1 ≤ steps ≤ the configuration's num_train_timesteps.

    Raises:
        SchedulerError: the name, or the configuration for it, is not supported.
        ValueError: the step count is not possible.
    """
    if scheduler not in _SAMPLERS:
        raise SchedulerError(
            f"unknown scheduler {scheduler!r}: choose one of {', '.join(_SAMPLERS)}"
        )
    sampler = _SAMPLERS[scheduler]
    settings = sampler.settings(config)
    if not 1 <= steps <= settings.num_train_timesteps:
        raise ValueError(
            f"{steps} steps are not possible: choose 1 to {settings.num_train_timesteps}"
        )
    return sampler.make(settings, steps)


def offered(config: SchedulerConfig) -> tuple[str, ...]:
    """The names of the schedulers that work with a configuration."""
    return tuple(name for name in _SAMPLERS if _works(config, name))


def default_scheduler(config: SchedulerConfig) -> str:
    """The name of the scheduler that the configuration was written for.

    Raises:
        SchedulerError: it is none of ours.
    """
    wanted = config.get("_class_name")
    for name, sampler in _SAMPLERS.items():
        if sampler.reads.name == wanted:
            sampler.settings(config)
            return name
    known = dict.fromkeys(sampler.reads.name for sampler in _SAMPLERS.values())
    raise SchedulerError(
        f"_class_name={wanted!r} in scheduler/scheduler_config.json is not supported: "
        f"set it to one of {', '.join(known)}"
    )


def _works(config: SchedulerConfig, name: str) -> bool:
    try:
        make_table(config, name, steps=2)
    except SchedulerError:
        return False
    return True
