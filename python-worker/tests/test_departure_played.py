"""What a departing worker finishes, simulated with the real scheduler."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from easel_worker.admission import Room
from easel_worker.departure import Departure
from easel_worker.engine import StepShape
from easel_worker.image import Image
from easel_worker.pace import Pace
from easel_worker.step_scheduler import StepScheduler
from easel_worker.values import Size
from tests.support.samples import LENGTH, image

SIZE, SMALL = Size(1024, 1024), Size(512, 512)
ROWS = 8
CHUNK_COUNTS = (1, 2)


class Cost(NamedTuple):
    """A size's seconds: a step's fixed part and part for each row, and a decoding."""

    fixed: float
    row: float
    decode: float


@dataclass(frozen=True)
class Case:
    """Images in flight and in the queue when the worker starts draining."""

    images: tuple[dict[str, Any], ...]  # arguments of `image`
    steps_before: int
    costs: dict[Size, Cost]
    grace: float


def play(case: Case, pace: Pace, *, choosing: bool) -> int:
    """How many requests finish in time if the worker is `choosing`, or if all share."""
    scheduler = StepScheduler(ROWS)
    owed: dict[str, list[Image]] = {}
    for one in case.images:
        waiting = image(**one)
        scheduler.add([waiting])
        owed.setdefault(waiting.request.id, []).append(waiting)
    for _ in range(case.steps_before):
        scheduler.admit()
        for done in scheduler.stepped(scheduler.next_step()):
            owed[done.request.id].remove(done)
            scheduler.finished(done)
    before = {name for name, left in owed.items() if not left}
    departure, now = Departure(case.grace, ""), 0.0
    while scheduler.busy and now < case.grace:
        if choosing:
            for name in departure.too_late(scheduler.images(), pace, now, room=Room(ROWS)):
                scheduler.cancel(name)
        scheduler.admit()
        step = scheduler.next_step()
        if not step:
            break
        shape, rows = step[0].spec.shape, sum(one.spec.rows for one in step)
        cost = case.costs[shape.size]
        now += cost.fixed + rows * cost.row
        pace.stepped(shape, rows, cost.fixed + rows * cost.row)
        for done in scheduler.stepped(step):
            now += cost.decode
            pace.decoded(shape.size, cost.decode)
            scheduler.finished(done)
            if now <= case.grace + 1e-9:
                owed[done.request.id].remove(done)
    return sum(not left for name, left in owed.items() if name not in before)


costs = st.builds(
    Cost,
    fixed=st.sampled_from([0.0, 0.05, 0.5]),
    row=st.sampled_from([0.0, 0.05, 0.2]),
    decode=st.sampled_from([0.0, 0.05, 0.3]),
)


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    sizes: Sequence[Size],
    row_counts: Sequence[int],
    chunk_counts: Sequence[int] = (1,),
) -> Case:
    images: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 10))):
        one = {
            "request": f"r{number}",
            "size": draw(st.sampled_from(sizes)),
            "rows": draw(st.sampled_from(row_counts)),
            "steps": draw(st.integers(1, 30)),
            "chunks": draw(st.sampled_from(chunk_counts)),
        }
        images += [one] * draw(st.integers(1, 2))
    return Case(
        tuple(images),
        steps_before=draw(st.integers(0, 20)),
        costs={size: draw(costs) for size in sizes},
        grace=draw(st.floats(0.5, 20.0)),
    )


def all_known(case: Case) -> Pace:
    pace = Pace()
    for size, cost in case.costs.items():
        pace.decoded(size, cost.decode)
        for rows, chunks in itertools.product(range(1, ROWS + 1), CHUNK_COUNTS):
            shape = StepShape(size, chunks * LENGTH)
            pace.stepped(shape, rows, cost.fixed + rows * cost.row)
    return pace


@settings(max_examples=300)
@given(case=cases(sizes=[SIZE], row_counts=[1, 2]))
def test_no_fewer_are_finished_than_if_all_shared(case: Case) -> None:
    assert play(case, all_known(case), choosing=True) >= play(case, Pace(), choosing=False)


@settings(max_examples=300)
@given(case=cases(sizes=[SIZE, SMALL], row_counts=[1, 2]))
def test_no_fewer_are_finished_with_several_sizes(case: Case) -> None:
    assert play(case, all_known(case), choosing=True) >= play(case, Pace(), choosing=False)


@settings(max_examples=300)
@given(case=cases(sizes=[SIZE, SMALL], row_counts=[1, 2], chunk_counts=CHUNK_COUNTS))
def test_no_fewer_are_finished_with_prompts_of_several_lengths(case: Case) -> None:
    assert play(case, all_known(case), choosing=True) >= play(case, Pace(), choosing=False)
