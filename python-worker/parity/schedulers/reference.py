"""Runs diffusers' schedulers on the cases. Needs torch and diffusers."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any
from unittest import mock

import diffusers
import numpy as np
import torch

from parity.schedulers.cases import (
    REPAINTED,
    Case,
    Trajectory,
    fake_model,
    fresh_noise,
    initial_noise,
    known_image,
)

_SDE = {"algorithm_type": "sde-dpmsolver++"}
_CLASSES: Mapping[str, tuple[Any, Mapping[str, Any]]] = {
    "euler": (diffusers.EulerDiscreteScheduler, {}),
    "euler_ancestral": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "ddim": (diffusers.DDIMScheduler, {}),
    "ddpm": (diffusers.DDPMScheduler, {}),
    "dpmpp_2m": (diffusers.DPMSolverMultistepScheduler, {}),
    "dpmpp_2m_sde": (diffusers.DPMSolverMultistepScheduler, _SDE),
    "dpmpp_3m": (diffusers.DPMSolverMultistepScheduler, {"solver_order": 3}),
    "dpmpp_3m_sde": (diffusers.DPMSolverMultistepScheduler, {"solver_order": 3, **_SDE}),
    "dpmpp_2s": (diffusers.DPMSolverSinglestepScheduler, {}),
    "heun": (diffusers.HeunDiscreteScheduler, {}),
    "dpm2": (diffusers.KDPM2DiscreteScheduler, {}),
    "dpm2_ancestral": (diffusers.KDPM2AncestralDiscreteScheduler, {}),
    "lcm": (diffusers.LCMScheduler, {}),
    "tcd": (diffusers.TCDScheduler, {}),
    "unipc": (diffusers.UniPCMultistepScheduler, {}),
    "edm_euler": (diffusers.EDMEulerScheduler, {}),
    "edm_dpmpp_2m": (diffusers.EDMDPMSolverMultistepScheduler, {}),
    "edm_dpmpp_2m_sde": (diffusers.EDMDPMSolverMultistepScheduler, _SDE),
    "edm_dpmpp_3m": (diffusers.EDMDPMSolverMultistepScheduler, {"solver_order": 3}),
}
"""Our names: diffusers' class, and the keys that the name decides."""

_SPACINGS = {
    "_karras": {"use_karras_sigmas": True},
    "_exponential": {"use_exponential_sigmas": True},
    "_beta": {"use_beta_sigmas": True},
}


def scheduler_of(name: str, config: Mapping[str, Any]) -> Any:
    """Diffusers' scheduler object for one of our names."""
    changes: dict[str, Any] = {}
    for suffix, spacing in _SPACINGS.items():
        if name.endswith(suffix):
            name, changes = name.removesuffix(suffix), spacing
    kind, decided = _CLASSES[name]
    return kind.from_config({**config, **decided, **changes})


def run(case: Case, steps: int, begin: int | None = None, *, float64: bool = False) -> Trajectory:
    """Run the fake model.

    Args:
        case: the sampler and its config.
        steps: of the schedule.
        begin: the step at which to begin from a picture, as the image-to-image and inpainting
            pipelines do; None to begin from noise.
        float64: make diffusers' code compute the steps, but not the schedule, in float64.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl_inpaint.py#L1647
    """
    dtype = torch.float64 if float64 else torch.float32
    scheduler = scheduler_of(case.scheduler, case.asked)
    _set_timesteps(scheduler, case, steps)
    first = (begin or 0) * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)  # as the pipelines do
    timesteps = scheduler.timesteps[first:]
    # Some classes take an image's four dimensions for granted.
    start, known, repainted = (
        torch.from_numpy(each).reshape(1, 1, 1, -1)
        for each in (initial_noise(), known_image(), REPAINTED)
    )
    start, known = start.to(dtype), known.to(dtype)
    extra = {"eta": case.eta} if case.eta is not None else {}
    module = sys.modules[type(scheduler).__module__]
    samples = []
    with _stepping_in_float64(module, scheduler) if float64 else nullcontext():
        if begin is None:
            sample = start * scheduler.init_noise_sigma
        else:
            sample = scheduler.add_noise(known, start, timesteps[:1])
        for row, timestep in enumerate(timesteps):
            seen = scheduler.scale_model_input(sample, timestep)
            samples.append(seen.numpy().astype(np.float32).reshape(-1))
            output = torch.from_numpy(fake_model(seen.numpy(), float(timestep)))
            noise = torch.from_numpy(fresh_noise(row)).to(dtype).reshape(sample.shape)
            with mock.patch.object(
                module, "randn_tensor", lambda *_, n=noise, **__: n, create=True
            ):
                sample = scheduler.step(output, timestep, sample, **extra).prev_sample
            if begin is not None:
                after = timesteps[row + 1 : row + 2]
                kept = scheduler.add_noise(known, start, after) if len(after) else known
                sample = torch.where(repainted, sample, kept)
    if sample.dtype != dtype:
        raise TypeError(f"diffusers computed in {sample.dtype} instead of {dtype}")
    final = sample.numpy().astype(np.float32).reshape(-1)
    return Trajectory(timesteps.numpy().astype(np.float32), np.stack(samples), final)


def _set_timesteps(scheduler: Any, case: Case, steps: int) -> None:
    schedule = case.schedule(steps)
    if schedule.timesteps:
        scheduler.set_timesteps(timesteps=list(schedule.timesteps))
    elif schedule.sigmas:
        scheduler.set_timesteps(sigmas=list(schedule.sigmas))
    else:
        scheduler.set_timesteps(steps)


@contextmanager
def _stepping_in_float64(module: ModuleType, scheduler: Any) -> Iterator[None]:
    """Double the schedule, and give its module a torch whose `float32` is float64."""
    if hasattr(scheduler, "sigmas"):
        scheduler.sigmas = scheduler.sigmas.double()
    with mock.patch.object(module, "torch", _Library(torch, float32=torch.float64)):
        yield


class _Library:
    """A module in which some names are replaced."""

    def __init__(self, module: ModuleType, **instead: Any) -> None:
        self._module = module
        self.__dict__.update(instead)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
