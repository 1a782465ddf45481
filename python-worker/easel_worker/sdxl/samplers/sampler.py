"""Makes a `Table` from a model's scheduler config, a sampler's name and a step count.

The host makes the table. The compiled denoising program applies one row of it (`table.advance`), so
a change of sampler or step count never recompiles anything.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from easel_worker.sdxl.samplers import classes
from easel_worker.sdxl.samplers.config import (
    SIGMA_SPACINGS,
    Config,
    ConfigFile,
    SchedulerClass,
    SchedulerError,
    read,
)
from easel_worker.sdxl.samplers.ddim import ddim, ddpm
from easel_worker.sdxl.samplers.distilled import lcm, tcd
from easel_worker.sdxl.samplers.dpm_solver import (
    SDE,
    dpmpp_2m,
    dpmpp_2m_sde,
    dpmpp_3m,
    dpmpp_3m_sde,
    edm_dpmpp_2m,
    edm_dpmpp_2m_sde,
    edm_dpmpp_3m,
)
from easel_worker.sdxl.samplers.edm import edm_euler
from easel_worker.sdxl.samplers.euler import euler, euler_ancestral
from easel_worker.sdxl.samplers.handover import first_of_refiner, join
from easel_worker.sdxl.samplers.schedule import SPACING, Schedule, apply_schedule
from easel_worker.sdxl.samplers.second_order import dpm_2, dpm_2_ancestral, heun
from easel_worker.sdxl.samplers.singlestep import dpm_solver_singlestep
from easel_worker.sdxl.samplers.table import Table
from easel_worker.sdxl.samplers.training import refuse_other_training
from easel_worker.sdxl.samplers.unipc import unipc


@dataclass(frozen=True)
class _Sampler:
    """A sampler that requests can name.

    Attributes:
        reads: the class of diffusers that it is.
        make: config and step count → table.
        spacing: the key of `Config` that the name switches on, instead of what the config says.
        second_order: whether it evaluates the UNet twice in each step but the last.
        needs_older: whether its updates use the image predicted two evaluations before.
    """

    reads: SchedulerClass
    make: Callable[[Config, int], Table]
    spacing: str | None = None
    second_order: bool = False
    needs_older: bool = False

    def config(self, file: ConfigFile) -> Config:
        if self.spacing is None:
            return read(file, self.reads)
        others = {key: False for key in SIGMA_SPACINGS if key in file}
        return read({**file, **others, self.spacing: True}, self.reads)


_PLAIN: Mapping[str, _Sampler] = {
    "euler": _Sampler(classes.EULER, euler),
    "euler_ancestral": _Sampler(classes.EULER_ANCESTRAL, euler_ancestral),
    "ddim": _Sampler(classes.DDIM, ddim),
    "dpmpp_2m": _Sampler(classes.DPM_SOLVER_MULTISTEP, dpmpp_2m),
    "dpmpp_2m_sde": _Sampler(classes.DPM_SOLVER_MULTISTEP, dpmpp_2m_sde),
    "dpmpp_2s": _Sampler(classes.DPM_SOLVER_SINGLESTEP, dpm_solver_singlestep),
    "heun": _Sampler(classes.HEUN, heun, second_order=True),
    "dpm2": _Sampler(classes.KDPM2, dpm_2, second_order=True),
    "dpm2_ancestral": _Sampler(classes.KDPM2_ANCESTRAL, dpm_2_ancestral, second_order=True),
    "ddpm": _Sampler(classes.DDPM, ddpm),
    "lcm": _Sampler(classes.LCM, lcm),
    "tcd": _Sampler(classes.TCD, tcd),
    "dpmpp_3m": _Sampler(classes.DPM_SOLVER_MULTISTEP, dpmpp_3m, needs_older=True),
    "dpmpp_3m_sde": _Sampler(classes.DPM_SOLVER_MULTISTEP, dpmpp_3m_sde, needs_older=True),
    "unipc": _Sampler(classes.UNIPC, unipc, needs_older=True),
    "edm_euler": _Sampler(classes.EDM_EULER, edm_euler),
    "edm_dpmpp_2m": _Sampler(classes.EDM_DPM_SOLVER_MULTISTEP, edm_dpmpp_2m),
    "edm_dpmpp_2m_sde": _Sampler(classes.EDM_DPM_SOLVER_MULTISTEP, edm_dpmpp_2m_sde),
    "edm_dpmpp_3m": _Sampler(classes.EDM_DPM_SOLVER_MULTISTEP, edm_dpmpp_3m, needs_older=True),
}

_SPACINGS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "karras": ("use_karras_sigmas", tuple(_PLAIN)),
    "exponential": (
        "use_exponential_sigmas",
        ("euler", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde"),
    ),
    "beta": ("use_beta_sigmas", ("euler", "dpmpp_2m", "dpmpp_2m_sde")),
}
"""By suffix of a name: the key that it switches on, and the samplers that have such a name."""


def _named() -> Iterator[tuple[str, _Sampler]]:
    """Every sampler, each followed by its variants with other sigmas."""
    for name, sampler in _PLAIN.items():
        yield name, sampler
        for suffix, (key, names) in _SPACINGS.items():
            if name in names and key in sampler.reads.reads:
                yield f"{name}_{suffix}", replace(sampler, spacing=key)


_SAMPLERS: Mapping[str, _Sampler] = dict(_named())


def make_table(
    file: ConfigFile,
    scheduler: str,
    steps: int,
    schedule: Schedule | None = None,
    *,
    begin: int = 0,
    end: float | None = None,
) -> Table:
    """Make the table of an image.

    Args:
        file: the model's scheduler config: spacing, betas, prediction type.
        scheduler: a name from `offered`.
        steps: the number of steps of the schedule, 1 ≤ steps ≤ num_train_timesteps of the config.
        schedule: what the request says instead of the config; None for nothing.
        begin: how many steps of the schedule to leave out at its start, for an image that begins
            from a picture; less than `steps`.
        end: the share of the training timesteps from which on a refiner does the rest; None
            without one.

    Raises:
        SchedulerError: the name is unknown, or the sampler does not support the config.
        ValueError: the sampler cannot run this many steps, or does not take the schedule, or the
            model or its refiner would have no step.
    """
    if scheduler not in _SAMPLERS:
        raise SchedulerError(
            f"unknown scheduler {scheduler!r}: choose one of {', '.join(_SAMPLERS)}"
        )
    sampler = _SAMPLERS[scheduler]
    config = sampler.config(file)
    if schedule is not None:
        config = apply_schedule(config, schedule, sampler.reads, scheduler, steps)
    if not 1 <= steps <= config.num_train_timesteps:
        raise ValueError(
            f"{steps} steps are not possible: choose 1 to {config.num_train_timesteps}"
        )
    table = _since(sampler, config, steps, begin)
    if end is None:
        return table
    trained = config.num_train_timesteps
    cutoff = round(trained - end * trained)
    whole = sampler.make(config, steps)
    first = first_of_refiner(whole, cutoff, second_order=sampler.second_order)
    rest = (
        whole.since(first)
        if first == len(whole.timesteps)
        else _since(sampler, config, steps, first // 2 if sampler.second_order else first)
    )
    return join(table, rest, whole=whole, cutoff=cutoff)


def _since(sampler: _Sampler, config: Config, steps: int, begin: int) -> Table:
    """The table of an image that runs the steps from `begin` on."""
    table = sampler.make(replace(config, begin=begin), steps)
    return table.since(2 * begin if sampler.second_order else begin)


def offered(file: ConfigFile) -> tuple[str, ...]:
    """The names of the samplers that support the config."""
    return tuple(name for name in _SAMPLERS if _works(file, name))


def second_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the samplers that evaluate the UNet twice in each step but the last."""
    return tuple(name for name in names if _SAMPLERS[name].second_order)


def unspaced(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the samplers that take no `timestep_spacing`."""
    return tuple(name for name in names if SPACING not in _SAMPLERS[name].reads.reads)


def needs_older(name: str) -> bool:
    """Whether a sampler uses the image predicted two evaluations before."""
    return _SAMPLERS[name].needs_older


def own_scheduler(file: ConfigFile) -> str:
    """The name of the sampler for the config's `_class_name`.

    Raises:
        SchedulerError: we do not implement that class, or a value that it reads, or the model was
            trained for none of our samplers.
    """
    wanted = file.get("_class_name")
    for name in _in_order(file):
        sampler = _SAMPLERS[name]
        if wanted == sampler.reads.name or wanted in sampler.reads.same:
            sampler.config(file)
            return name
    why = refuse_other_training(file, edm=False)
    what = f"_class_name={wanted!r} in scheduler/scheduler_config.json"
    raise SchedulerError(why or f"{what} is not implemented")


def _in_order(file: ConfigFile) -> tuple[str, ...]:
    """All names; of those of one class, the one that the config asks for comes first."""
    sde = file.get("algorithm_type") == SDE
    third = file.get("solver_order") == 3
    asked = [f"{edm}dpmpp_{3 if third else 2}m{'_sde' if sde else ''}" for edm in ("", "edm_")]
    return (*(name for name in asked if name in _SAMPLERS), *_SAMPLERS)


def _works(file: ConfigFile, name: str) -> bool:
    try:
        make_table(file, name, steps=2)
    except SchedulerError:
        return False
    return True
