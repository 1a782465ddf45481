"""Compares our tables with stored results of diffusers' schedulers.

They are 1 to 50 steps of each case, and images that begin from a picture.
"""

from pathlib import Path

import numpy as np
import pytest

from easel_worker.sdxl.samplers.sampler import second_order
from parity.schedulers.cases import (
    BEGINNINGS,
    MAX_STEPS,
    Case,
    Trajectory,
    beginning_cases,
    cases,
)
from parity.schedulers.ours import difference, difference_from

GOLDENS = Path(__file__).parents[1] / "goldens"
GOLDEN, FROM_A_PICTURE = GOLDENS / "schedulers.npz", GOLDENS / "beginnings.npz"


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_every_step_count_matches_diffusers(case: Case) -> None:
    goldens = np.load(GOLDEN)
    finals = goldens[f"{case.name}/final"]
    each = 2 if second_order((case.scheduler,)) else 1
    evaluations = each * np.arange(1, MAX_STEPS) - (each - 1)
    timesteps = np.split(goldens[f"{case.name}/timesteps"], np.cumsum(evaluations))
    differences = {
        steps: difference(case, steps, timesteps[steps - 1], finals[steps - 1])
        for steps in range(1, MAX_STEPS + 1)
    }
    assert max(differences.values()) <= case.tolerance, differences


def test_the_golden_file_has_exactly_the_cases() -> None:
    stored = {key.rsplit("/", 1)[0] for key in np.load(GOLDEN)}
    assert stored == {case.name for case in cases()}


@pytest.mark.parametrize("case", list(beginning_cases()), ids=lambda case: case.name)
def test_images_that_begin_from_a_picture_match_diffusers(case: Case) -> None:
    goldens = np.load(FROM_A_PICTURE)
    each = 2 if second_order((case.scheduler,)) else 1
    evaluations = [each * (steps - begin) - (each - 1) for steps, begin in BEGINNINGS]
    timesteps, seen = (
        np.split(goldens[f"{case.name}/{name}"], np.cumsum(evaluations)[:-1])
        for name in ("timesteps", "seen")
    )
    runs = map(Trajectory, timesteps, seen, goldens[f"{case.name}/final"])
    differences = {
        beginning: difference_from(case, *beginning, theirs)
        for beginning, theirs in zip(BEGINNINGS, runs, strict=True)
    }
    assert max(differences.values()) <= case.tolerance, differences


def test_the_golden_file_of_beginnings_has_exactly_the_cases() -> None:
    stored = {key.rsplit("/", 1)[0] for key in np.load(FROM_A_PICTURE)}
    assert stored == {"stamp"} | {case.name for case in beginning_cases()}
