"""Runs our tables on the cases and compares the results."""

import numpy as np

from easel_worker.sdxl.samplers.sampler import make_table
from easel_worker.sdxl.samplers.table import advance
from parity.report import relative_difference
from parity.schedulers.cases import (
    VALUES,
    Case,
    Floats,
    fake_model,
    fresh_noise,
    initial_noise,
)


def run(case: Case, steps: int) -> tuple[Floats, Floats]:
    """Run the fake model; returns the timesteps [evaluations] and the final sample [VALUES]."""
    table = make_table(case.config, case.scheduler, steps, case.schedule(steps))
    sample = initial_noise() * np.float32(table.initial)
    image = older = np.zeros(VALUES, np.float32)
    for row, timestep in enumerate(table.timesteps):
        output = fake_model(sample, float(timestep))
        noise = fresh_noise(row)
        previous = image
        sample, image = advance(table.at(row), sample, output, image, noise, older=older)
        older = previous
    return table.timesteps, sample


def difference(case: Case, steps: int, timesteps: Floats, final: Floats) -> float:
    """The difference of our final sample from diffusers', relative to its largest value.

    Infinite if the timesteps differ by more than rounding, or a number is not finite.
    """
    times, sample = run(case, steps)
    if times.shape != timesteps.shape or not np.allclose(times, timesteps, rtol=1e-5, atol=2e-3):
        return float("inf")
    if not (np.isfinite(sample).all() and np.isfinite(final).all()):
        return float("inf")
    return relative_difference(sample, final)
