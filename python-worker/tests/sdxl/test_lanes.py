"""Which lanes share a call. Pure: no device computes anything here."""

from typing import Any

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
NO_UNET: Any = None


def lane(
    guidance: float, steps: int = 4, evaluation: int = 0, seed: int = 0, scheduler: str = "euler"
) -> SdxlLane:
    spec = ImageSpec(TOKENS, None, steps, guidance, scheduler, 8, 8, seed=seed)
    conditions = Conditions(PromptContext([], [], []), NOTHING, NOTHING)
    state = State(NOTHING, NOTHING)
    table = make_table({}, scheduler, steps)
    return SdxlLane(spec, table, conditions, state, NO_UNET, evaluation)


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
    lanes = [lane(5.0, steps=4, evaluation=3, seed=7), lane(2.0, steps=2, seed=2**32 - 1)]
    numbers = step_numbers(lanes)
    assert numbers.seed.tolist() == [7, 2**32 - 1]
    assert numbers.step.tolist() == [3, 0]
    assert numbers.guidance.tolist() == [5.0, 2.0]
    assert numbers.timestep.tolist() == [0.0, 999.0]
    columns = numbers.coefficients._asdict()
    assert columns.pop("next_older") is None  # no lane keeps what it applies to
    for name, column in columns.items():
        assert column.tolist() == [getattr(each.table.at(each.evaluation), name) for each in lanes]


def test_lanes_that_keep_an_older_prediction_have_its_coefficient() -> None:
    lanes = [lane(1.0, steps=9, evaluation=4, scheduler=name) for name in ("unipc", "euler")]
    for each in lanes:
        each.state = State(NOTHING, NOTHING, NOTHING)
    column = step_numbers(lanes).coefficients.next_older
    assert column.tolist() == [each.table.at(4).next_older for each in lanes]
    assert column[0] != 0
    assert column[1] == 0


def test_a_second_order_sampler_runs_the_unet_twice_a_step() -> None:
    made = [lane(5.0, steps=3, evaluation=done, scheduler="heun") for done in range(6)]
    assert [each.step for each in made] == [0, 0, 1, 1, 2, 3]
    assert {each.evaluations for each in made} == {5}
    assert lane(5.0, steps=1, evaluation=1, scheduler="heun").step == 1


def test_numbers_that_are_not_finite_are_of_the_step_being_made() -> None:
    bad = [lane(5.0, steps=3, evaluation=done, scheduler="heun") for done in range(1, 6)]
    for each in bad:
        each.unread = (np.array([False]), 0)
        assert not each.settle()
    named = [each.not_finite.where for each in bad if each.not_finite is not None]
    assert named == [f"step {step} of 3" for step in (1, 1, 2, 2, 3)]
