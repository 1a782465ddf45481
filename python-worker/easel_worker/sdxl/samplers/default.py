"""The sampler of a model whose request names none."""

from collections.abc import Collection
from typing import NamedTuple

from easel_worker.sdxl.samplers.config import ConfigFile, SchedulerError
from easel_worker.sdxl.samplers.sampler import own_scheduler

_NEAREST = {
    "PNDMScheduler": "dpmpp_2m",
    "DEISMultistepScheduler": "dpmpp_2m",
    "UniPCMultistepScheduler": "dpmpp_2m",
    "DPMSolverMultistepScheduler": "dpmpp_2m",
    "DPMSolverSinglestepScheduler": "dpmpp_2m",
    "DPMSolverSDEScheduler": "dpmpp_2m_sde",
    "SASolverScheduler": "dpmpp_2m_sde",
    "DDPMScheduler": "ddim",
    "EDMDPMSolverMultistepScheduler": "edm_euler",
}
"""By class: the sampler that is most like it. Others get the first of `_ANY` that is offered."""

_ANY = ("euler", "ddim", "dpmpp_2m", "edm_euler")

_DISTILLED = ("LCMScheduler", "TCDScheduler")
"""Classes that only models of a few steps have, which any other sampler spoils."""

_BETAS = ("beta_start", "beta_end")


class Default(NamedTuple):
    """A sampler's name, and a warning for the operator if the model asks for another one."""

    scheduler: str
    warning: str | None = None


def default_scheduler(file: ConfigFile, names: Collection[str]) -> Default:
    """The model's own sampler, or the nearest one that fits how it was trained.

    Args:
        file: the contents of scheduler_config.json.
        names: the samplers that the worker offers for it.

    Raises:
        SchedulerError: none of them would draw the right picture. The text says why.
    """
    wanted = file.get("_class_name")
    try:
        own = own_scheduler(file)
    except SchedulerError as error:
        reason = str(error)
    else:
        if own in names:
            return Default(own)
        reason = f"{wanted} in scheduler/scheduler_config.json is {own}, which is not offered here"
    # A class that we do not know may have betas of its own, if the file states none.
    known = wanted in _NEAREST or all(file.get(key) is not None for key in _BETAS)
    nearest = [name for name in (_NEAREST.get(str(wanted), ""), *_ANY) if name in names]
    if not nearest or wanted in _DISTILLED or not (known or file.get("trained_betas")):
        raise SchedulerError(reason)
    warning = (
        f"{reason}; requests that name no scheduler use {nearest[0]} instead, so their images "
        f'differ from diffusers\': name another one as "scheduler" in easel.json'
    )
    return Default(nearest[0], warning)
