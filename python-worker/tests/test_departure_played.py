"""What a departing worker finishes, played with the real scheduler: queue, sizes, decodings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from easel_worker.departure import Departure
from easel_worker.pace import Pace
from easel_worker.step_scheduler import Size, StepScheduler, Ticket

SIZE, SMALL = (1024, 1024), (512, 512)
ROWS = 8


class Cost(NamedTuple):
    """Seconds of a size: of a step, so much and so much for each row; and of a decoding."""

    fixed: float
    row: float
    decode: float


@dataclass(frozen=True)
class Case:
    """Images in flight and in the queue when the worker is told to leave."""

    tickets: tuple[Ticket, ...]
    steps_before: int
    costs: dict[Size, Cost]
    grace: float


def play(case: Case, pace: Pace, *, choosing: bool) -> int:
    """How many requests are finished in time; `choosing`, or all go on sharing."""
    scheduler = StepScheduler(ROWS)
    for one in case.tickets:
        scheduler.add([one])
    owed = {name: [t for t in case.tickets if t.request == name] for name in _names(case)}
    for _ in range(case.steps_before):
        scheduler.admit()
        for done in scheduler.stepped(scheduler.next_step()):
            owed[done.request].remove(done)
            scheduler.finished(done)
    before = {name for name, images in owed.items() if not images}
    departure, now = Departure(case.grace, ""), 0.0
    while scheduler.busy and now < case.grace:
        if choosing:
            for name in departure.too_late(scheduler.remaining(), pace, now, rows=ROWS):
                scheduler.cancel(name)
        scheduler.admit()
        step = scheduler.next_step()
        if not step:
            break
        cost, rows = case.costs[step[0].size], sum(t.rows for t in step)
        now += cost.fixed + rows * cost.row
        pace.stepped(step[0].size, rows, cost.fixed + rows * cost.row)
        for done in scheduler.stepped(step):
            now += cost.decode
            pace.decoded(done.size, cost.decode)
            scheduler.finished(done)
            if now <= case.grace + 1e-9:
                owed[done.request].remove(done)
    return sum(not images for name, images in owed.items() if name not in before)


def _names(case: Case) -> list[str]:
    return list(dict.fromkeys(t.request for t in case.tickets))


costs = st.builds(
    Cost,
    fixed=st.sampled_from([0.0, 0.05, 0.5]),
    row=st.sampled_from([0.0, 0.05, 0.2]),
    decode=st.sampled_from([0.0, 0.05, 0.3]),
)


@st.composite
def cases(draw: st.DrawFn, *, sizes: Sequence[Size], row_counts: Sequence[int]) -> Case:
    tickets = []
    for number in range(draw(st.integers(1, 10))):
        size, rows = draw(st.sampled_from(sizes)), draw(st.sampled_from(row_counts))
        steps = draw(st.integers(1, 30))
        images = range(draw(st.integers(1, 2)))
        tickets += [Ticket(f"r{number}", image, size, rows, steps) for image in images]
    return Case(
        tuple(tickets),
        steps_before=draw(st.integers(0, 20)),
        costs={size: draw(costs) for size in sizes},
        grace=draw(st.floats(0.5, 20.0)),
    )


def all_known(case: Case) -> Pace:
    pace = Pace()
    for size, cost in case.costs.items():
        pace.decoded(size, cost.decode)
        for rows in range(1, ROWS + 1):
            pace.stepped(size, rows, cost.fixed + rows * cost.row)
    return pace


@settings(max_examples=300)
@given(case=cases(sizes=[SIZE], row_counts=[1, 2]))
def test_no_fewer_are_finished_than_if_all_shared(case: Case) -> None:
    assert play(case, all_known(case), choosing=True) >= play(case, Pace(), choosing=False)


@settings(max_examples=300)
@given(case=cases(sizes=[SIZE, SMALL], row_counts=[1, 2]))
def test_nor_with_several_sizes(case: Case) -> None:
    assert play(case, all_known(case), choosing=True) >= play(case, Pace(), choosing=False)
