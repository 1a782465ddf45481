"""Our tables against diffusers' schedulers, live: all stored cases, and random configurations.

Run with the parity environment: .venv-torch/bin/python -m pytest parity/live_schedulers.py
"""

import random

import pytest

from parity import diffusers_schedulers, our_schedulers
from parity.scheduler_cases import SCHEDULERS, Case, cases

# Torch and diffusers warn about their own use of numpy.
pytestmark = pytest.mark.filterwarnings("default")

RANDOM_CASES = 40
STEP_COUNTS = (1, 2, 3, 4, 14, 15, 16, 30, 50)


def random_case(seed: int) -> Case:
    """A scheduler with a random configuration that all schedulers can follow."""
    draw = random.Random(seed)
    config = {
        "num_train_timesteps": draw.choice([200, 500, 1000]),
        "beta_start": draw.uniform(0.0001, 0.001),
        "beta_end": draw.uniform(0.01, 0.025),
        "beta_schedule": draw.choice(["linear", "scaled_linear"]),
        "clip_sample": False,
        "set_alpha_to_one": draw.random() < 0.5,
        "steps_offset": draw.choice([0, 1]),
        "timestep_spacing": draw.choice(["leading", "trailing", "linspace"]),
        "prediction_type": draw.choice(["epsilon", "v_prediction"]),
        "final_sigmas_type": draw.choice(["zero", "sigma_min"]),
        "lower_order_final": draw.random() < 0.5,
        "euler_at_final": draw.random() < 0.5,
    }
    scheduler = draw.choice(SCHEDULERS)
    return Case(f"{seed}:{scheduler}:{config}", scheduler, config)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_stored_case(case: Case) -> None:
    for steps in STEP_COUNTS:
        our_schedulers.check(case, steps, *diffusers_schedulers.run(case, steps))


@pytest.mark.parametrize("number", range(RANDOM_CASES))
def test_random_configuration(number: int) -> None:
    case = random_case(random.randrange(2**32))
    for steps in STEP_COUNTS:
        our_schedulers.check(case, steps, *diffusers_schedulers.run(case, steps))
