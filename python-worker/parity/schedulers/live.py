"""Compares our tables with diffusers' schedulers: all cases, and random configs."""

import random
import re
from collections.abc import Iterator

from parity.report import Comparison, relative_difference
from parity.schedulers import ours, reference
from parity.schedulers.cases import SCHEDULERS, TOLERANCE, Case, cases, default_eta

RANDOM_CASES = 20
FLOAT32_LOSS = 4096 * 2.0**-23
"""Half a unit in the last place of two numbers, each about 4096 times the result."""
# For some random configs diffusers truncates timesteps that are nearly whole (exponential and beta
# sigmas), loses float32's digits (DPM2) or divides by zero (3M, UniPC).
DRAWN = [name for name in SCHEDULERS if not re.search(r"_exponential|_beta|dpm2|3m|unipc", name)]
STEP_COUNTS = (1, 2, 3, 4, 14, 15, 16, 30, 50)


def compare(seed: int) -> Iterator[Comparison]:
    """Compare every case, and random ones that the seed decides."""
    for case in (*cases(), *map(draw, range(seed, seed + RANDOM_CASES))):
        worst = max(difference(case, steps) for steps in STEP_COUNTS)
        yield Comparison("scheduler", case.name, worst, TOLERANCE)
        if case.in_float64:
            lost = max(diffusers_loss(case, steps) for steps in STEP_COUNTS)
            yield Comparison("diffusers' loss in float32", case.name, lost, FLOAT32_LOSS)


def difference(case: Case, steps: int) -> float:
    """The difference of our final sample from diffusers'; infinite if the timesteps differ."""
    timesteps, final = reference.run(case, steps, float64=case.in_float64)
    return ours.difference(case, steps, timesteps, final)


def diffusers_loss(case: Case, steps: int) -> float:
    """The difference of diffusers' final sample in float32 from its own in float64."""
    _, single = reference.run(case, steps)
    _, double = reference.run(case, steps, float64=True)
    return relative_difference(single, double)


def draw(seed: int) -> Case:
    """A random sampler of `DRAWN` with a random config that all of them support."""
    rng = random.Random(seed)
    config = {
        "num_train_timesteps": rng.choice([200, 500, 1000]),
        "beta_start": rng.uniform(0.0001, 0.001),
        "beta_end": rng.uniform(0.01, 0.025),
        "beta_schedule": rng.choice(["linear", "scaled_linear"]),
        "clip_sample": False,
        "set_alpha_to_one": rng.random() < 0.5,
        "steps_offset": rng.choice([0, 1]),
        "timestep_spacing": rng.choice(["leading", "trailing", "linspace"]),
        "prediction_type": rng.choice(["epsilon", "v_prediction"]),
        "final_sigmas_type": rng.choice(["zero", "sigma_min"]),
        "lower_order_final": rng.random() < 0.5,
        "euler_at_final": rng.random() < 0.5,
    }
    scheduler = rng.choice(DRAWN)
    spacing, prediction = config["timestep_spacing"], config["prediction_type"]
    name = f"{scheduler}:random-{seed},{spacing},{prediction}"
    return Case(name, scheduler, config, eta=default_eta(scheduler))
