"""The cases of the scheduler comparison: configs, and formulas for the model and the noise.

Needs numpy only. Used by the script that makes the golden file, the live comparison and the tests.
"""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from easel_worker.sdxl.samplers.schedule import Schedule

Floats = NDArray[np.float32]
AnyFloats = NDArray[Any]
"""float32 or float64."""

MAX_STEPS = 50
VALUES = 6
"""The size of a sample. The updates are elementwise, so a few numbers are enough."""

TOLERANCE = 1e-5
"""The largest allowed difference, relative to the largest value."""

ROUNDED_TOLERANCE = 1e-4
"""The same where float32 rounds more; see `Case.tolerance`."""

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

EDM = {
    "_class_name": "EDMDPMSolverMultistepScheduler",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sigma_data": 0.5,
    "sigma_max": 80.0,
    "sigma_min": 0.002,
    "rho": 7.0,
}
"""The keys of Playground v2.5's scheduler_config.json that decide the table."""

FULL = ("euler", "euler_ancestral", "ddim", "dpmpp_2m", "euler_karras", "dpmpp_2m_karras")
"""The samplers that have a case for every kind of config."""

_SPACED = {
    "dpmpp_2m_sde": ("", "_karras", "_exponential", "_beta"),
    "dpmpp_3m_sde": ("", "_karras", "_exponential"),
    "dpmpp_3m": ("", "_karras"),
    "dpmpp_2s": ("", "_karras"),
    "unipc": ("", "_karras"),
    "heun": ("", "_karras"),
    "dpm2": ("", "_karras"),
    "dpm2_ancestral": ("", "_karras"),
    "euler": ("_exponential", "_beta"),
    "dpmpp_2m": ("_exponential", "_beta"),
}
_UNSPACED = ("ddpm", "lcm", "tcd")
_WITHOUT_ZERO_SNR = ("dpmpp_2s", "heun", "dpm2", "dpm2_ancestral")
_WITHOUT_SAMPLE = ("euler_ancestral", "dpm2", "dpm2_ancestral")
WITHOUT_SPACING = ("dpmpp_2s", "dpmpp_2s_karras", "lcm", "tcd")
"""The samplers that take no timestep_spacing."""

TAKES = {
    "timesteps": ("euler", "dpmpp_2m", "dpmpp_2s", "heun", "ddpm", "lcm", "tcd"),
    "sigmas": ("euler",),
}
"""The samplers that take a request's own timesteps or sigmas."""

WITH_ETA = ("ddim", "tcd")
"""The samplers that take a request's eta."""

SCHEDULERS = (
    *FULL,
    *(f"{name}{suffix}" for name, suffixes in _SPACED.items() for suffix in suffixes),
    *_UNSPACED,
)
"""All our samplers of models with betas."""

EDM_SCHEDULERS = ("edm_euler", "edm_dpmpp_2m", "edm_dpmpp_2m_sde", "edm_dpmpp_3m")
"""All our samplers of EDM models."""


@dataclass(frozen=True)
class Case:
    """A sampler with a config, to run with every step count.

    Attributes:
        own: "timesteps" or "sigmas" where the request gives these; else empty.
        eta: the request's; None where the sampler takes none.
        spacing: the request's timestep_spacing, which replaces the config's; else None.
        seed: draws `own` at random; None for fixed values.
    """

    name: str
    scheduler: str
    config: dict[str, Any]
    own: str = ""
    eta: float | None = None
    spacing: str | None = None
    seed: int | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """The config with what the request replaces."""
        changes = {} if self.spacing is None else {"timestep_spacing": self.spacing}
        return self.config | changes

    def schedule(self, steps: int) -> Schedule:
        """What the request says, for a number of steps."""
        given = Schedule(timestep_spacing=self.spacing, eta=self.eta or 0.0)
        last = self.config["num_train_timesteps"] - 1
        if self.own and self.seed is not None:
            return replace(given, **self._drawn(steps, last))
        if self.own == "timesteps":
            # Uneven on purpose; integers, all different.
            times = np.linspace(last**0.5, 1.0, steps) ** 2 + np.arange(steps)[::-1] / 2
            times = np.minimum(times, last)
            return replace(given, timesteps=tuple(int(time) for time in times))
        if self.own == "sigmas":
            return replace(given, sigmas=(*np.geomspace(12.0, 0.04, steps).tolist(), 0.0))
        return given

    def _drawn(self, steps: int, last: int) -> dict[str, Any]:
        rng = random.Random(f"{self.seed} {steps}")
        if self.own == "timesteps":
            # One in the middle half of each part: steps of very uneven widths amplify rounding.
            share = (last + 1) / steps
            parts = reversed(range(steps))
            times = tuple(int(share * (part + rng.uniform(0.25, 0.75))) for part in parts)
            return {"timesteps": times}
        drawn = np.geomspace(12.0, 0.04, steps) * np.exp(rng.uniform(-0.1, 0.1))
        return {"sigmas": (*drawn.tolist(), 0.0)}

    @property
    def tolerance(self) -> float:
        """How far our final sample may be from diffusers', relative to the largest value.

        Some differences are larger than float32's own rounding, at most 9.0e-5 in the golden file:

        - SDE solvers and samplers of second order amplify rounding, ours as much as diffusers':
          ours differs by up to 3.1e-5 from diffusers in float64.
        - The classes of ddpm, lcm and tcd subtract nearly equal levels in float32.
        - If the first sample has no image, a prediction of epsilon is 4096 times the output.
        - edm_euler and continuous timesteps: diffusers loses digits at sigmas of 80 to 700. Its
          float64 differs by 1.9e-7 from ours.
        """
        rounded = re.match(r"dpmpp_.*_sde|heun|dpm2|ddpm|lcm|tcd|edm_euler", self.scheduler)
        config = self.config
        empty = config.get("rescale_betas_zero_snr") and config["prediction_type"] == "epsilon"
        if rounded or empty or config.get("timestep_type") == "continuous":
            return ROUNDED_TOLERANCE
        return TOLERANCE

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


class Trajectory(NamedTuple):
    """What a run passes through.

    Attributes:
        timesteps: [evaluations].
        seen: the samples that the model gets, at unit variance, [evaluations, VALUES].
        final: the final sample, [VALUES].
    """

    timesteps: Floats
    seen: Floats
    final: Floats


def cases() -> Iterator[Case]:
    """All cases of the golden file."""
    for scheduler in FULL:
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
    yield from _more_cases()
    yield from _request_cases()
    yield from _edm_cases()


def _more_cases() -> Iterator[Case]:
    """The samplers outside `FULL`, and what only they read."""
    for scheduler in SCHEDULERS[len(FULL) :]:
        plain = scheduler.rsplit("_", 1)[0] if scheduler.endswith(_SUFFIXES) else scheduler
        yield _case(scheduler)
        if plain not in WITHOUT_SPACING:
            yield _case(scheduler, timestep_spacing="trailing", prediction_type="v_prediction")
            yield _case(scheduler, timestep_spacing="linspace")
        else:
            yield _case(scheduler, prediction_type="v_prediction")
        if plain not in _WITHOUT_ZERO_SNR:
            yield _case(
                scheduler,
                rescale_betas_zero_snr=True,
                timestep_spacing="trailing",
                prediction_type="v_prediction",
            )
        if plain not in _WITHOUT_SAMPLE:
            yield _case(scheduler, prediction_type="sample")
    # Not 3M SDE: its long last step to sigma_min triples the errors of the steps before.
    for scheduler in ("dpmpp_2m_sde", "dpmpp_3m", "dpmpp_2s", "unipc"):
        yield _case(scheduler, final_sigmas_type="sigma_min")
        yield _case(scheduler, final_sigmas_type="sigma_min", lower_order_final=False)
    for scheduler in ("dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2s"):
        yield _case(scheduler, solver_type="heun")
    # With a final sigma of 0 diffusers multiplies 0 by infinity.
    yield _case("unipc", solver_type="bh1", final_sigmas_type="sigma_min")
    yield _case("unipc", solver_order=1)
    yield _case("unipc", disable_corrector=[0, 2])
    yield _case("unipc_karras", final_sigmas_type="sigma_min")
    yield _case("dpmpp_2s", solver_order=1)
    yield _case("ddpm", variance_type="fixed_large")
    yield _case("ddpm", variance_type="fixed_small_log")
    yield _case("lcm", original_inference_steps=100, timestep_scaling=5.0)
    yield _case(
        "euler",
        timestep_type="continuous",
        prediction_type="v_prediction",
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
    )


def _request_cases() -> Iterator[Case]:
    """Timesteps, sigmas and eta of requests."""
    for own, schedulers in TAKES.items():
        for scheduler in schedulers:
            yield replace(_case(scheduler), name=f"{scheduler}:own {own}", own=own)
    for scheduler in WITH_ETA:
        for eta in (0.3, 1.0):
            yield replace(_case(scheduler), name=f"{scheduler}:eta={eta}", eta=eta)


def _edm_cases() -> Iterator[Case]:
    for scheduler in EDM_SCHEDULERS:
        yield _case(scheduler, EDM)
        if scheduler != "edm_dpmpp_3m":  # diffusers divides 0 by 0 in the last step
            yield _case(scheduler, EDM, final_sigmas_type="sigma_min")
        yield _case(
            scheduler,
            EDM,
            prediction_type="v_prediction",
            sigma_data=1.0,
            sigma_max=120.0,
            sigma_schedule="exponential",
        )
    yield _case("edm_dpmpp_2m", EDM, solver_type="heun")
    # Betas in a file for an EDM class change nothing: the class does not read them.
    yield _case("edm_euler", EDM, beta_schedule="scaled_linear", beta_start=0.00085)


_SUFFIXES = ("_karras", "_exponential", "_beta")


def _case(scheduler: str, base: Mapping[str, Any] = SDXL, /, **changes: Any) -> Case:
    config = {**base, **changes}
    if "trained_betas" in changes:
        config["num_train_timesteps"] = len(changes["trained_betas"])
    text = ",".join(f"{k}={'…' if isinstance(v, list) else v}" for k, v in changes.items())
    return Case(f"{scheduler}:{text}", scheduler, config, eta=default_eta(scheduler))


def default_eta(scheduler: str) -> float | None:
    """The eta that diffusers' pipeline passes: TCD's step has another default than the pipeline."""
    return 0.0 if scheduler == "tcd" else None


BEGINNINGS = ((1, 0), (3, 2), (4, 1), (5, 0), (6, 3), (12, 7), (16, 5), (20, 18))
"""Numbers of steps, and where in them an image begins from a picture."""

REPAINTED: NDArray[np.bool_] = np.arange(VALUES) % 2 == 0
"""Which values such an image repaints; of the others it keeps the picture's."""


def beginning_cases() -> Iterator[Case]:
    """The cases that begin from a picture: those of all samplers that decide noise levels."""
    for case in cases():
        plain = case.config.get("prediction_type") != "sample" and case.spacing is None
        if plain and (case.own or case.scheduler not in FULL or "timestep_spacing" in case.name):
            yield case
    yield _case("euler", rescale_betas_zero_snr=True, timestep_spacing="trailing")


def known_image() -> Floats:
    """The picture that an image begins from, [VALUES]."""
    return _wave(1000)


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
