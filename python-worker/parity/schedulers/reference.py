"""Runs diffusers' schedulers on the cases. Needs torch and diffusers."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from types import ModuleType
from typing import Any
from unittest import mock

import diffusers
import numpy as np
import torch
from diffusers.schedulers import scheduling_euler_ancestral_discrete as ancestral
from diffusers.schedulers import scheduling_euler_discrete as euler

from parity.schedulers.cases import Case, Floats, fake_model, fresh_noise, initial_noise

_CLASSES = {
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_ancestral": diffusers.EulerAncestralDiscreteScheduler,
    "ddim": diffusers.DDIMScheduler,
    "dpmpp_2m": diffusers.DPMSolverMultistepScheduler,
}


def scheduler_of(name: str, config: Mapping[str, Any]) -> Any:
    """Diffusers' scheduler object for one of our names."""
    plain = name.removesuffix("_karras")
    karras = {} if name == plain else {"use_karras_sigmas": True}
    return _CLASSES[plain].from_config({**config, **karras})


def run(case: Case, steps: int, *, float64: bool = False) -> tuple[Floats, Floats]:
    """Run the fake model; returns the timesteps [steps] and the final sample [VALUES].

    Args:
        float64: make diffusers' code compute the schedule and the steps in float64.
    """
    dtype = torch.float64 if float64 else torch.float32
    with _computing_in_float64() if float64 else nullcontext():
        scheduler = scheduler_of(case.scheduler, case.config)
        scheduler.set_timesteps(steps)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)  # as the pipeline does
        sample = torch.from_numpy(initial_noise()).to(dtype) * scheduler.init_noise_sigma
        for step, timestep in enumerate(scheduler.timesteps):
            seen = scheduler.scale_model_input(sample, timestep)
            output = torch.from_numpy(fake_model(seen.numpy(), float(timestep)))
            noise = torch.from_numpy(fresh_noise(step)).to(dtype)
            with mock.patch.object(ancestral, "randn_tensor", lambda *_, n=noise, **__: n):
                sample = scheduler.step(output, timestep, sample).prev_sample
    if sample.dtype != dtype:
        raise TypeError(f"diffusers computed in {sample.dtype} instead of {dtype}")
    return scheduler.timesteps.numpy().astype(np.float32), sample.numpy().astype(np.float32)


@contextmanager
def _computing_in_float64() -> Iterator[None]:
    """Give the Euler modules libraries whose `float32` is float64, since they name it often."""
    with ExitStack() as stack:
        for module in (euler, ancestral):
            for name, library in (("torch", torch), ("np", np)):
                double = _Library(library, float32=library.float64)
                stack.enter_context(mock.patch.object(module, name, double))
        yield


class _Library:
    """A module in which some names are replaced."""

    def __init__(self, module: ModuleType, **instead: Any) -> None:
        self._module = module
        self.__dict__.update(instead)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
