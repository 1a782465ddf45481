"""Makes a `Table` from a model's scheduler config, a sampler's name and a step count.

The host makes the table. The compiled denoising program applies one row of it (`table.advance`), so
a change of sampler or step count never recompiles anything.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from easel_worker.sdxl.samplers.config import (
    DDIM,
    DPM_SOLVER_MULTISTEP,
    EULER,
    EULER_ANCESTRAL,
    Config,
    ConfigFile,
    SchedulerClass,
    SchedulerError,
    read,
)
from easel_worker.sdxl.samplers.ddim import ddim
from easel_worker.sdxl.samplers.dpm_solver import dpmpp_2m
from easel_worker.sdxl.samplers.euler import euler, euler_ancestral
from easel_worker.sdxl.samplers.table import Table


@dataclass(frozen=True)
class _Sampler:
    reads: SchedulerClass
    make: Callable[[Config, int], Table]
    karras: bool = False

    def config(self, file: ConfigFile) -> Config:
        config = read(file, self.reads)
        return replace(config, use_karras_sigmas=True) if self.karras else config


_SAMPLERS: Mapping[str, _Sampler] = {
    "euler": _Sampler(EULER, euler),
    "euler_karras": _Sampler(EULER, euler, karras=True),
    "euler_ancestral": _Sampler(EULER_ANCESTRAL, euler_ancestral),
    "ddim": _Sampler(DDIM, ddim),
    "dpmpp_2m": _Sampler(DPM_SOLVER_MULTISTEP, dpmpp_2m),
    "dpmpp_2m_karras": _Sampler(DPM_SOLVER_MULTISTEP, dpmpp_2m, karras=True),
}


def make_table(file: ConfigFile, scheduler: str, steps: int) -> Table:
    """Make the table of an image.

    Args:
        file: the model's scheduler config: spacing, betas, prediction type.
        scheduler: a name from `offered`.
        steps: the number of denoising steps, 1 ≤ steps ≤ num_train_timesteps of the config.

    Raises:
        SchedulerError: the name is unknown, or the sampler does not support the config.
        ValueError: the sampler cannot run this many steps.
    """
    if scheduler not in _SAMPLERS:
        raise SchedulerError(
            f"unknown scheduler {scheduler!r}: choose one of {', '.join(_SAMPLERS)}"
        )
    sampler = _SAMPLERS[scheduler]
    config = sampler.config(file)
    if not 1 <= steps <= config.num_train_timesteps:
        raise ValueError(
            f"{steps} steps are not possible: choose 1 to {config.num_train_timesteps}"
        )
    return sampler.make(config, steps)


def offered(file: ConfigFile) -> tuple[str, ...]:
    """The names of the samplers that support the config."""
    return tuple(name for name in _SAMPLERS if _works(file, name))


def default_scheduler(file: ConfigFile) -> str:
    """The name of the sampler for the config's `_class_name`.

    Raises:
        SchedulerError: we do not implement that class.
    """
    wanted = file.get("_class_name")
    for name, sampler in _SAMPLERS.items():
        if sampler.reads.name == wanted:
            sampler.config(file)
            return name
    known = dict.fromkeys(sampler.reads.name for sampler in _SAMPLERS.values())
    raise SchedulerError(
        f"_class_name={wanted!r} in scheduler/scheduler_config.json is not supported: "
        f"set it to one of {', '.join(known)}"
    )


def _works(file: ConfigFile, name: str) -> bool:
    try:
        make_table(file, name, steps=2)
    except SchedulerError:
        return False
    return True
