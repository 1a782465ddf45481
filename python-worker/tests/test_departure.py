"""Which requests a departing worker still finishes."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel_worker.admission import Room
from easel_worker.departure import Departure, shared_ends
from easel_worker.engine import StepShape
from easel_worker.image import Image
from easel_worker.pace import Pace
from easel_worker.values import Size
from tests.support.samples import LENGTH, image

SIZE = Size(1024, 1024)
SHAPE = StepShape(SIZE, LENGTH)
ROWS = 32


def left(request: str, steps: int) -> Image:
    """A guided image with this many steps left."""
    return image(request, size=SIZE, steps=steps)


def measured(step_s: float, decode_s: float = 0.0) -> Pace:
    pace = Pace()
    pace.stepped(SHAPE, 2, step_s)
    pace.decoded(SIZE, decode_s)
    return pace


def test_a_request_that_cannot_finish_even_alone_is_dropped_at_once() -> None:
    images = [left("fits", 20), left("does not", 21)]
    late = Departure(110.0, "").too_late(images, measured(0.5), now=100.0, room=Room(ROWS))
    assert late == ["does not"]


def test_the_decoding_time_counts() -> None:
    images = [left("a", 20)]
    late = Departure(110.0, "").too_late(images, measured(0.5, 0.1), now=100.0, room=Room(ROWS))
    assert late == ["a"]


def test_a_request_without_measured_times_is_kept() -> None:
    images = [left("a", 40)]
    assert not Departure(110.0, "").too_late(images, Pace(), now=109.9, room=Room(ROWS))


def test_at_the_deadline_all_requests_are_dropped() -> None:
    images = [left("a", 1), left("a", 1), left("b", 40)]
    assert Departure(110.0, "").too_late(images, Pace(), now=110.0, room=Room(ROWS)) == ["a", "b"]


def test_sets_of_loras_take_turns_and_wait_for_a_place() -> None:
    images = [image(name, size=SIZE, steps=2, loras=name) for name in ("a", "b")]
    images.append(image("plain", size=SIZE, steps=2))
    pace = measured(0.5)
    assert shared_ends(images, pace, Room(ROWS, sets=1)) == [1.5, 3.0, 2.0]
    assert shared_ends(images, pace, Room(ROWS, sets=2)) == [2.0, 2.5, 3.0]


def test_an_image_ends_after_the_step_of_its_shape_and_not_after_the_others() -> None:
    images = [image("first", size=SIZE, steps=1), image("second", size=SIZE, steps=1, chunks=2)]
    pace = measured(0.5)
    pace.stepped(StepShape(SIZE, 2 * LENGTH), 2, 2.0)
    assert shared_ends(images, pace, Room(ROWS)) == [0.5, 2.5]
    late = Departure(101.0, "").too_late(images, pace, now=100.0, room=Room(ROWS))
    assert late == ["second"]


def test_pace_follows_the_measurements() -> None:
    pace = measured(1.0)
    for _ in range(30):
        pace.stepped(SHAPE, 2, 0.5)
    assert pace.step_s(SHAPE, 2) == pytest.approx(0.5, rel=1e-3)


def test_a_later_departure_does_not_extend_an_earlier_one() -> None:
    soon, late = Departure(1.0, "soon"), Departure(2.0, "late")
    assert soon.or_sooner(None) is soon
    assert late.or_sooner(soon) is soon
    assert soon.or_sooner(late) is soon


def v5e(rows: int) -> float:
    """Seconds of a step on a chip whose step time grows with the rows."""
    return 0.006 + 0.055 * rows


def learned(cost: Callable[[int], float], *rows: int) -> Pace:
    pace = Pace()
    for count in rows:
        pace.stepped(SHAPE, count, cost(count))
    return pace


def played(cost: Callable[[int], float], steps: list[int], left: float) -> int:
    """How many guided images finish in time if all share every step."""
    done, now = 0, 0.0
    waiting = sorted(steps)
    for step in range(1, max(steps, default=0) + 1):
        active = sum(1 for needed in waiting if needed >= step)
        now += cost(2 * active)
        if now > left:
            break
        done += sum(1 for needed in waiting if needed == step)
    return done


def test_of_twelve_equal_requests_some_finish_instead_of_none() -> None:
    images = [left(str(number), 30) for number in range(12)]
    late = Departure(9.0, "").too_late(images, learned(v5e, 24), now=0.0, room=Room(ROWS))
    kept = 12 - len(late)
    assert kept == 2
    assert played(v5e, [30] * 12, 9.0) == 0
    assert played(v5e, [30] * kept, 9.0) == kept


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=16),
    st.floats(0.1, 30.0),
    st.floats(0.0, 0.2),
    st.floats(0.0, 0.1),
)
def test_no_fewer_are_finished_than_if_all_shared_the_steps(
    steps: list[int], left_s: float, fixed_s: float, row_s: float
) -> None:
    def cost(rows: int) -> float:
        return fixed_s + row_s * rows

    images = [left(str(number), count) for number, count in enumerate(steps)]
    late = Departure(left_s, "").too_late(images, learned(cost, 2, 4, 32), now=0.0, room=Room(ROWS))
    kept = [count for number, count in enumerate(steps) if str(number) not in late]
    finished = played(cost, kept, left_s * (1 + 1e-6))
    assert finished == len(kept)
    assert finished >= played(cost, steps, left_s * (1 - 1e-6))


def test_images_of_one_request_are_kept_or_dropped_together() -> None:
    pair = [image("pair", index, SIZE, steps=10) for index in (0, 1)]
    late = Departure(8.0, "").too_late(
        [*pair, left("one", 12)], learned(v5e, 2, 4), now=0.0, room=Room(ROWS)
    )
    assert not late
    late = Departure(2.0, "").too_late(
        [*pair, left("one", 12)], learned(v5e, 2, 4), now=0.0, room=Room(ROWS)
    )
    assert late == ["pair"]


@pytest.mark.parametrize("rows", [1, 8, 100])
def test_an_unmeasured_number_of_rows_is_estimated(rows: int) -> None:
    assert learned(v5e, 2, 24).step_s(SHAPE, rows) == pytest.approx(v5e(rows))
    assert learned(lambda _: 0.5, 2, 24).step_s(SHAPE, rows) == pytest.approx(0.5)
    assert learned(lambda _: 0.5, 4).step_s(SHAPE, rows) == pytest.approx(0.125 * rows)
