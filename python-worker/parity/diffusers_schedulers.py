"""Runs diffusers' schedulers on the cases of `scheduler_cases`. Needs torch and diffusers."""

from collections.abc import Mapping
from typing import Any
from unittest import mock

import diffusers
import numpy as np
import torch
from diffusers.schedulers import scheduling_euler_ancestral_discrete as ancestral

from parity.scheduler_cases import Case, Floats, fake_model, fresh_noise, initial_noise

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


def run(case: Case, steps: int) -> tuple[Floats, Floats]:
    """The timesteps [steps] and the final sample [VALUES] of a run with the fake model."""
    scheduler = scheduler_of(case.scheduler, case.config)
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)  # as the pipeline does
    sample = torch.from_numpy(initial_noise()) * scheduler.init_noise_sigma
    for step, timestep in enumerate(scheduler.timesteps):
        seen = scheduler.scale_model_input(sample, timestep)
        output = torch.from_numpy(fake_model(seen.numpy(), float(timestep)))
        noise = torch.from_numpy(fresh_noise(step))
        with mock.patch.object(ancestral, "randn_tensor", lambda *_, n=noise, **__: n):
            sample = scheduler.step(output, timestep, sample).prev_sample
    return scheduler.timesteps.numpy().astype(np.float32), sample.numpy()
