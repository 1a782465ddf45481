"""Reading a final schedule."""

from hypothesis import given
from hypothesis import strategies as st

from easel_worker.compile.schedule import read_schedule
from tests.compile.schedules import Loop, Part, cycles, schedule

straight = st.integers(1, 20)


@st.composite
def loops(draw: st.DrawFn, inner: st.SearchStrategy[list[Part]]) -> Loop:
    filling = draw(st.integers(0, 2))
    turns, body = filling + draw(st.integers(1, 50)), [draw(straight), *draw(inner)]
    return Loop(turns, filling, body, guarded=draw(st.booleans()))


def parts(inner: st.SearchStrategy[list[Part]]) -> st.SearchStrategy[list[Part]]:
    return st.lists(straight | loops(inner), min_size=1, max_size=3)


none: st.SearchStrategy[list[Part]] = st.just([])


@given(parts(parts(parts(none))))
def test_a_body_counts_only_the_turns_that_compute(program: list[Part]) -> None:
    assert read_schedule(schedule(program)).issue == cycles(program)


def test_turns_that_fill_the_pipeline_are_not_whole_turns() -> None:
    found = read_schedule(schedule([5, Loop(12, 2, [100])]))
    around = Loop.HEAD + Loop.TAIL + 2 * Loop.DELAY
    assert found.issue == 5 + 12 * around + 10 * 100
    assert found.bundles == 5 + around + 100


def test_an_empty_last_turn_without_a_stage_does_not_count() -> None:
    """A kernel of 8 turns whose result stays in vector memory."""
    found = read_schedule(schedule([Loop(10, 2, [100], guarded=True)]))
    assert found.issue == 10 * (Loop.HEAD + Loop.TAIL + 2 * Loop.DELAY) + 8 * 100


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 4))
def test_a_result_takes_the_matrix_unit_eight_cycles(body: int, turns: int, pops: int) -> None:
    found = read_schedule(schedule([3, Loop(turns + 2, 2, [body])], pops))
    assert found.matrix == 8 * pops * (3 + turns * body)


def test_the_busiest_unit_counts() -> None:
    text = schedule([4], 1) + "\n0x9 : { %1 = vpop.f32.mrf.mxu3 ;; %2 = vpop.eup }"
    assert read_schedule(text).matrix == 8 * 4


def test_8_bit_products_are_twice_as_fast() -> None:
    assert read_schedule(schedule([4], 3).replace("f32.mrf", "s32.mrf")).matrix == 4 * 3 * 4


def test_says_which_loops_have_no_constant_limit() -> None:
    text = schedule([2, Loop(9, 2, [Loop(5, 0, [10])])])
    assert read_schedule(text).unknown_loops == 0
    inner = text.replace("%s15, 5 /*", "%s15, %s3 /*")
    found = read_schedule(inner)
    around = Loop.HEAD + Loop.TAIL + 2 * Loop.DELAY
    assert found.unknown_loops == 1
    assert found.issue == 2 + 9 * around + 7 * (around + 10)
