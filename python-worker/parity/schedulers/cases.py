"""The cases of the scheduler comparison: configs, and formulas for the model and the noise.

Needs numpy only. Used by the script that makes the golden file, the live comparison and the tests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
AnyFloats = NDArray[Any]
"""float32 or float64."""

MAX_STEPS = 50
VALUES = 6
"""The size of a sample. The updates are elementwise, so a few numbers are enough."""

TOLERANCE = 1e-4
"""The largest allowed difference, relative to the largest value."""

SDXL = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "prediction_type": "epsilon",
}
"""The keys of SDXL base's scheduler_config.json that decide the table."""

SCHEDULERS = (
    "euler",
    "euler_ancestral",
    "ddim",
    "dpmpp_2m",
    "euler_karras",
    "dpmpp_2m_karras",
)
"""All our samplers."""


@dataclass(frozen=True)
class Case:
    """A sampler with a config, to run with every step count."""

    name: str
    scheduler: str
    config: dict[str, Any]

    @property
    def in_float64(self) -> bool:
        """Whether diffusers computes the reference in float64 because its float32 is too inexact.

        With zero terminal SNR diffusers' Euler classes start from 4096 · noise, and a step
        subtracts most of it. That loses 12 of float32's 24 bits, unless the model predicts epsilon,
        which needs no subtraction. Measured: their float32 result differs from their own float64
        result by up to 3.9e-4, ours, at unit variance, by 2.8e-6. `python -m parity.live` prints
        both.
        """
        return (
            self.scheduler.startswith("euler")
            and bool(self.config.get("rescale_betas_zero_snr"))
            and self.config["prediction_type"] != "epsilon"
        )


def cases() -> Iterator[Case]:
    """All cases of the golden file."""
    for scheduler in SCHEDULERS:
        for spacing in ("leading", "trailing", "linspace"):
            for prediction in ("epsilon", "v_prediction"):
                yield _case(scheduler, timestep_spacing=spacing, prediction_type=prediction)
        yield _case(scheduler, beta_schedule="linear", beta_start=0.0001, beta_end=0.02)
        yield _case(scheduler, beta_schedule="squaredcos_cap_v2", steps_offset=0)
        yield _case(
            scheduler,
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
            prediction_type="v_prediction",
        )
        yield _case(scheduler, rescale_betas_zero_snr=True)
        yield _case(scheduler, trained_betas=np.geomspace(0.0005, 0.02, 500).tolist())
        if scheduler != "euler_ancestral":
            yield _case(scheduler, prediction_type="sample")
    for scheduler in ("euler", "dpmpp_2m", "dpmpp_2m_karras"):
        yield _case(scheduler, final_sigmas_type="sigma_min")
        yield _case(scheduler, use_karras_sigmas=True, sigma_min=0.05, sigma_max=9.0)
    yield _case("ddim", set_alpha_to_one=True)
    yield _case("dpmpp_2m", final_sigmas_type="sigma_min", euler_at_final=True)
    yield _case("dpmpp_2m", final_sigmas_type="sigma_min", lower_order_final=False)
    yield _case("dpmpp_2m", solver_order=1)


def _case(scheduler: str, **changes: Any) -> Case:
    config = SDXL | changes
    if "trained_betas" in changes:
        config["num_train_timesteps"] = len(changes["trained_betas"])
    text = ",".join(f"{k}={'…' if isinstance(v, list) else v}" for k, v in changes.items())
    return Case(f"{scheduler}:{text}", scheduler, config)


def initial_noise() -> Floats:
    """The initial noise of every run, [VALUES]."""
    return _wave(0)


def fresh_noise(step: int) -> Floats:
    """The fresh noise of a step, [VALUES]."""
    return _wave(step + 1)


def _wave(row: int) -> Floats:
    angle = 12.9898 * row + 78.233 * np.arange(1, VALUES + 1, dtype=np.float64)
    return (np.sqrt(2.0) * np.sin(angle * angle)).astype(np.float32)


def fake_model(sample: AnyFloats, timestep: float) -> AnyFloats:
    """A smooth function in place of the UNet: sample at unit variance → output, both [VALUES]."""
    x = sample.astype(np.float64)
    output = 0.8 * np.sin(1.5 * x + timestep / 160.0) + 0.3 * x * np.cos(timestep / 300.0)
    return output.astype(sample.dtype)
