"""Which lanes share a call. Pure: no device computes anything here."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from easel_worker.engine import ImageSpec, Tokens
from easel_worker.sdxl.model.unet import PromptContext
from easel_worker.sdxl.samplers.sampler import make_table
from easel_worker.sdxl.serving.lanes import LaneCounts, SdxlLane, plan_calls, step_numbers
from easel_worker.sdxl.serving.programs import Conditions, State

TOKENS = Tokens((0,), (0,))
NOTHING = np.zeros(0, np.float32)


def lane(guidance: float, steps: int = 4, step: int = 0, seed: int = 0) -> SdxlLane:
    spec = ImageSpec(TOKENS, None, steps, guidance, "euler", 8, 8, seed=seed)
    conditions = Conditions(PromptContext([], [], []), NOTHING)
    state = State(NOTHING, NOTHING)
    return SdxlLane(spec, make_table({}, "euler", steps), conditions, state, step)


@given(
    guided=st.lists(st.booleans(), max_size=20),
    devices=st.integers(1, 4),
    batches=st.sets(st.integers(1, 6), min_size=1),
)
def test_every_lane_is_in_one_call_of_a_compiled_program(
    guided: list[bool], devices: int, batches: set[int]
) -> None:
    lanes = [lane(5.0 if each else 1.0) for each in guided]
    unguided = tuple(sorted(batch * devices for batch in batches))
    guided_counts = tuple(sorted(batches))
    calls = plan_calls(lanes, LaneCounts(guided_counts, unguided))
    assert sorted(id(each) for call in calls for each in call.lanes) == sorted(map(id, lanes))
    for call in calls:
        counts = guided_counts if call.guided else unguided
        assert len(call.padded) in counts
        assert call.padded[: len(call.lanes)] == call.lanes
        assert all(each.spec.guided is call.guided for each in call.lanes)
        assert call.padding == 0 or len(call.padded) == counts[0]
        assert call.rows_padded == call.padding * call.lanes[0].spec.rows


def test_the_largest_filled_program_goes_first() -> None:
    lanes = [lane(5.0) for _ in range(7)]
    assert [len(call.lanes) for call in plan_calls(lanes, LaneCounts((1, 2, 4), (8,)))] == [4, 2, 1]


def test_padding_repeats_the_last_lane() -> None:
    lanes = [lane(5.0) for _ in range(3)]
    (call,) = plan_calls(lanes, LaneCounts((4,), (1,)))
    assert call.padded == (*lanes, lanes[-1])
    assert call.rows_padded == 2


def test_each_lane_has_its_own_numbers() -> None:
    lanes = [lane(5.0, steps=4, step=3, seed=7), lane(2.0, steps=2, step=0, seed=2**32 - 1)]
    numbers = step_numbers(lanes)
    assert numbers.seed.tolist() == [7, 2**32 - 1]
    assert numbers.step.tolist() == [3, 0]
    assert numbers.guidance.tolist() == [5.0, 2.0]
    assert numbers.timestep.tolist() == [0.0, 999.0]
    for column, name in zip(numbers.coefficients, numbers.coefficients._fields, strict=True):
        assert column.tolist() == [getattr(each.table.at(each.step), name) for each in lanes]
