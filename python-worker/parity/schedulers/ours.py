"""Runs our tables on the cases and compares the results."""

import numpy as np

from easel_worker.sdxl.samplers.sampler import make_table
from easel_worker.sdxl.samplers.table import advance
from parity.report import relative_difference
from parity.schedulers.cases import (
    REPAINTED,
    VALUES,
    Case,
    Floats,
    Trajectory,
    fake_model,
    fresh_noise,
    initial_noise,
    known_image,
)


def run(case: Case, steps: int, begin: int | None = None) -> Trajectory:
    """Run the fake model.

    Args:
        case: the sampler and its config.
        steps: of the schedule.
        begin: the step at which to begin from a picture, of which `REPAINTED` is repainted; None to
            begin from noise.
    """
    table = make_table(case.config, case.scheduler, steps, case.schedule(steps), begin=begin or 0)
    noise, known, seen = initial_noise(), known_image(), []
    sample = noise * np.float32(table.initial)
    if begin is not None:
        alpha, sigma = table.noised_at(0)
        sample = alpha * known + sigma * noise
    image = older = np.zeros(VALUES, np.float32)
    for row, timestep in enumerate(table.timesteps):
        seen.append(sample)
        output = fake_model(sample, float(timestep))
        fresh = fresh_noise(row)
        previous = image
        sample, image = advance(table.at(row), sample, output, image, fresh, older=older)
        older = previous
        if begin is not None:
            alpha, sigma = table.noised_at(row + 1)
            sample = np.where(REPAINTED, sample, alpha * known + sigma * noise)
    return Trajectory(table.timesteps, np.stack(seen), sample)


def difference(case: Case, steps: int, timesteps: Floats, final: Floats) -> float:
    """The difference of our final sample from diffusers', relative to its largest value.

    Infinite if the timesteps differ by more than rounding, or a number is not finite.
    """
    times, _, sample = run(case, steps)
    if not _same_times(times, timesteps):
        return float("inf")
    if not (np.isfinite(sample).all() and np.isfinite(final).all()):
        return float("inf")
    return relative_difference(sample, final)


def difference_from(case: Case, steps: int, begin: int, theirs: Trajectory) -> float:
    """The same for all samples of an image that begins from a picture."""
    ours = run(case, steps, begin)
    if not _same_times(ours.timesteps, theirs.timesteps):
        return float("inf")
    both = [np.concatenate([each.seen, each.final[None]]) for each in (ours, theirs)]
    if not all(np.isfinite(each).all() for each in both):
        return float("inf")
    return max(relative_difference(*rows) for rows in zip(*both, strict=True))


def _same_times(ours: Floats, theirs: Floats) -> bool:
    """Whether timesteps differ by rounding alone.

    diffusers' DPM2 takes logarithms of sigmas in float32. What it makes of a timestep of 0 depends
    on the processor: 0, or 9.6e-3 with 2 steps and linspace.
    """
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=1e-5, atol=1e-2)
