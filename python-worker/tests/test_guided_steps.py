"""Which steps of an image are guided. Pure."""

from hypothesis import given
from hypothesis import strategies as st

from easel_worker.engine import ImageSpec, Tokens

shares = st.floats(0, 1)


def spec(steps: int = 25, guidance: float = 5.0, start: float = 0.0, end: float = 1.0) -> ImageSpec:
    return ImageSpec(
        *(Tokens((0,), (0,)), None, steps, guidance, "euler", 8, 8),
        seed=1,
        guidance_start=start,
        guidance_end=end,
    )


def test_the_interval_is_rounded_as_in_diffusers() -> None:
    assert spec(25, start=0.2, end=0.8).guided_steps == range(5, 20)
    assert spec(10, start=0.25, end=0.99).guided_steps == range(2, 9)
    assert spec(50, end=0.58).guided_steps == range(28)  # 0.58 · 50 is a little less than 29


@given(st.integers(1, 1000), st.floats(0, 30))
def test_without_an_interval_all_steps_are_guided_or_none(steps: int, guidance: float) -> None:
    wanted = spec(steps, guidance)
    assert list(wanted.guided_steps) == (list(range(steps)) if guidance > 1 else [])
    assert wanted.guided == (guidance > 1)


@given(st.integers(1, 1000), st.floats(0, 30), shares, shares)
def test_rows_are_the_largest_number_of_any_step(
    steps: int, guidance: float, one: float, other: float
) -> None:
    wanted = spec(steps, guidance, min(one, other), max(one, other))
    rows = [wanted.rows_at(step) for step in range(steps)]
    assert max(rows) == wanted.rows
    assert rows.count(2) == len(wanted.guided_steps)
    assert set(wanted.guided_steps) <= set(range(steps))


@given(st.integers(1, 1000), shares)
def test_two_intervals_that_meet_guide_each_step_once(steps: int, middle: float) -> None:
    early, late = spec(steps, end=middle).guided_steps, spec(steps, start=middle).guided_steps
    assert [*early, *late] == list(range(steps))
