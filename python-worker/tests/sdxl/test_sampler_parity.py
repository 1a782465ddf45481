"""Compares our tables with stored results of diffusers' schedulers: 1 to 50 steps of each case."""

from pathlib import Path

import numpy as np
import pytest

from easel_worker.sdxl.samplers.sampler import second_order
from parity.schedulers.cases import MAX_STEPS, Case, cases
from parity.schedulers.ours import difference

GOLDEN = Path(__file__).parents[1] / "goldens/schedulers.npz"


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
