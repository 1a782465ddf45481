"""Where a refiner takes over: the rule of diffusers, on tables of all samplers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel_worker.sdxl.samplers.sampler import make_table, offered, second_order
from easel_worker.sdxl.samplers.table import Coefficients
from parity.pipeline.cases import SDXL_SCHEDULER

NAMES = offered(SDXL_SCHEDULER)
TWICE = second_order(NAMES)


@given(
    name=st.sampled_from(NAMES),
    steps=st.integers(2, 40),
    end=st.floats(0.02, 0.98),
    share=st.floats(0.0, 0.9),
)
def test_the_two_parts_are_those_of_two_schedules(
    name: str, steps: int, end: float, share: float
) -> None:
    begin, cutoff = int(share * steps), round(1000 - end * 1000)
    alone = make_table(SDXL_SCHEDULER, name, steps, begin=begin)
    whole = make_table(SDXL_SCHEDULER, name, steps).timesteps
    below = int((whole < cutoff).sum())
    if not (alone.timesteps >= cutoff).any() or below == 0:
        with pytest.raises(ValueError, match="denoising_end leaves no step to the"):
            make_table(SDXL_SCHEDULER, name, steps, begin=begin, end=end)
        return
    table = make_table(SDXL_SCHEDULER, name, steps, begin=begin, end=end)
    done = table.handover
    assert done is not None
    assert np.array_equal(table.timesteps[:done], alone.timesteps[alone.timesteps >= cutoff])
    rest = table.timesteps[done:]
    odd = name in TWICE and below % 2 == 0
    assert np.array_equal(rest, whole[len(whole) - below - odd :])
    assert table.repeated == len(table.timesteps) - len(alone.timesteps) == odd
    # The refiner begins as an image that begins there: with no earlier predictions.
    first = len(whole) - len(rest)
    later = make_table(
        SDXL_SCHEDULER, name, steps, begin=first // 2 if name in TWICE else first
    ).coefficients
    for own, column in zip(table.coefficients, later, strict=True):
        assert np.array_equal(own[done:], column)
    mine = Coefficients(*(column[: done - 1] for column in table.coefficients))
    assert all(map(np.array_equal, mine, (column[: done - 1] for column in alone.coefficients)))


@pytest.mark.parametrize("name", TWICE)
def test_a_step_that_is_done_again_begins_at_its_own_level(name: str) -> None:
    """diffusers takes the helper sample for one of the level at which the step begins."""
    steps = 10
    alone = make_table(SDXL_SCHEDULER, name, steps)
    table = make_table(SDXL_SCHEDULER, name, steps, end=0.6)
    done = table.handover
    assert done is not None
    assert table.repeated == 1
    now, helper = alone.noised.alpha[done - 1], alone.noised.alpha[done]
    for field in ("next_sample", "next_output"):
        ours = getattr(table.coefficients, field)[done - 1]
        plain = getattr(alone.coefficients, field)[done - 1]
        assert ours == pytest.approx(plain * now / helper, rel=1e-6)
    assert table.coefficients.data_output[done - 1] == alone.coefficients.data_output[done - 1]
