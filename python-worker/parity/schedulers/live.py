"""Compares our tables with diffusers' schedulers: all cases, and random configs."""

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from parity.report import Comparison, relative_difference
from parity.schedulers import ours, reference
from parity.schedulers.cases import (
    SCHEDULERS,
    TAKES,
    WITH_ETA,
    WITHOUT_SPACING,
    Case,
    beginning_cases,
    cases,
    default_eta,
)

RANDOM_CASES = 20
FLOAT32_LOSS = 4096 * 2.0**-23
"""Half a unit in the last place of two numbers, each about 4096 times the result."""
# For some random configs diffusers truncates timesteps that are nearly whole (exponential and beta
# sigmas) or loses float32's digits (DPM2).
DRAWN = [name for name in SCHEDULERS if not re.search(r"_exponential|_beta|dpm2", name)]
STEP_COUNTS = (1, 2, 3, 4, 14, 15, 16, 30, 50)


def compare(seed: int) -> Iterator[Comparison]:
    """Compare every case, and random ones that the seed decides."""
    for case in (*cases(), *map(draw, range(seed, seed + RANDOM_CASES))):
        worst = max(difference(case, steps) for steps in STEP_COUNTS)
        yield Comparison("scheduler", case.name, worst, case.tolerance)
        if case.in_float64:
            lost = max(diffusers_loss(case, steps) for steps in STEP_COUNTS)
            yield Comparison("diffusers' loss in float32", case.name, lost, FLOAT32_LOSS)
    for case in (*beginning_cases(), *map(draw, range(seed, seed + RANDOM_CASES))):
        worst = max(difference_from(case, steps, seed) for steps in STEP_COUNTS)
        yield Comparison("scheduler from a picture", case.name, worst, case.tolerance)


def difference(case: Case, steps: int) -> float:
    """The difference of our final sample from diffusers'; infinite if the timesteps differ.

    Random cases are compared in float64: in float32 diffusers loses up to 8e-5 in some of them.
    """
    float64 = case.in_float64 or case.seed is not None
    timesteps, _, final = reference.run(case, steps, float64=float64)
    return ours.difference(case, steps, timesteps, final)


def difference_from(case: Case, steps: int, seed: int) -> float:
    """The same for an image that begins from a picture, at a step that the seed decides."""
    begin = random.Random(f"{seed} {case.name} {steps}").randrange(steps)
    float64 = case.in_float64 or case.seed is not None
    return ours.difference_from(
        case, steps, begin, reference.run(case, steps, begin, float64=float64)
    )


def diffusers_loss(case: Case, steps: int) -> float:
    """The difference of diffusers' final sample in float32 from its own in float64."""
    single, double = (reference.run(case, steps, float64=wide).final for wide in (False, True))
    return relative_difference(single, double)


def draw(seed: int) -> Case:
    """A random sampler of `DRAWN` with a random config that all of them support."""
    rng = random.Random(seed)
    scheduler = rng.choice(DRAWN)
    config = {
        "num_train_timesteps": rng.choice([200, 500, 1000]),
        "beta_start": rng.uniform(0.0001, 0.001),
        "beta_end": rng.uniform(0.01, 0.025),
        "beta_schedule": rng.choice(["linear", "scaled_linear"]),
        "clip_sample": False,
        "set_alpha_to_one": rng.random() < 0.5,
        "steps_offset": rng.choice([0, 1]),
        "timestep_spacing": rng.choice(_spacings(scheduler)),
        "prediction_type": rng.choice(["epsilon", "v_prediction"]),
        "final_sigmas_type": rng.choice(["zero", "sigma_min"]),
        "lower_order_final": rng.random() < 0.5,
        "euler_at_final": rng.random() < 0.5,
    }
    if re.search("3m|unipc", scheduler):  # with other values diffusers divides by zero
        config |= {"final_sigmas_type": "zero", "lower_order_final": True}
    spacing, prediction = config["timestep_spacing"], config["prediction_type"]
    name = f"{scheduler}:random-{seed},{spacing},{prediction}"
    case = Case(name, scheduler, config, eta=default_eta(scheduler), seed=seed)
    return _with_request(case, rng)


def _spacings(scheduler: str) -> tuple[str, ...]:
    # Heun's two steps from 999 to 0 amplify rounding, for some betas beyond the tolerance.
    others = () if scheduler.startswith("heun") else ("linspace",)
    return ("leading", "trailing", *others)


def _with_request(case: Case, rng: random.Random) -> Case:
    """Add what a request may say to the sampler: one field, or none."""
    options: list[dict[str, Any]] = [
        {"own": own} for own, names in TAKES.items() if case.scheduler in names
    ]
    if case.scheduler in WITH_ETA:
        options.append({"eta": round(rng.random(), 3)})
    if case.scheduler not in WITHOUT_SPACING:
        options.append({"spacing": rng.choice(_spacings(case.scheduler))})
    changes = rng.choice([{}, *options])
    said = ",".join(f"{key}={value}" for key, value in changes.items())
    return replace(case, name=f"{case.name},{said}".removesuffix(","), **changes)
