"""The step scheduler: who shares a step, who waits, and for how long at most."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from easel_worker.step_scheduler import Size, StepScheduler, Ticket

LARGE: Size = (1024, 1024)
SMALL: Size = (512, 512)
SIZES = (LARGE, SMALL, (768, 512))


def ticket(
    request: str, image: int = 0, size: Size = LARGE, rows: int = 2, steps: int = 4
) -> Ticket:
    return Ticket(request, image, size, rows, steps)


def test_images_of_one_size_share_a_step_whatever_their_steps_and_rows() -> None:
    scheduler = StepScheduler(rows=4)
    a, b = ticket("a", rows=1, steps=2), ticket("b", rows=2, steps=9)
    scheduler.add([a])
    scheduler.add([b])
    assert scheduler.admit() == [a, b]
    assert scheduler.next_step() == (a, b)


def test_an_image_joins_at_the_next_step_and_leaves_when_it_is_done() -> None:
    scheduler = StepScheduler(rows=4)
    first, second = ticket("first", steps=2), ticket("second", steps=2)
    scheduler.add([first])
    scheduler.admit()
    assert scheduler.stepped(scheduler.next_step()) == []
    scheduler.add([second])
    scheduler.admit()
    assert scheduler.stepped(scheduler.next_step()) == [first]
    scheduler.finished(first)
    assert scheduler.next_step() == (second,)


def test_rows_are_in_use_until_the_image_is_decoded() -> None:
    scheduler = StepScheduler(rows=2)
    first, second = ticket("first", steps=1), ticket("second")
    scheduler.add([first])
    scheduler.add([second])
    assert scheduler.admit() == [first]
    assert scheduler.stepped(scheduler.next_step()) == [first]
    assert (scheduler.rows_in_use, scheduler.queued, scheduler.admit()) == (2, 1, [])
    assert scheduler.next_step() == ()
    scheduler.finished(first)
    assert scheduler.admit() == [second]


def test_nobody_overtakes_an_image_that_needs_two_rows() -> None:
    scheduler = StepScheduler(rows=3)
    running, wide, narrow = ticket("running"), ticket("wide"), ticket("narrow", rows=1)
    for one in (running, wide, narrow):
        scheduler.add([one])
    assert scheduler.admit() == [running]
    scheduler.cancel("running")
    assert scheduler.admit() == [wide, narrow]


def test_sizes_take_turns() -> None:
    scheduler = StepScheduler(rows=4)
    large = [ticket("a"), ticket("b")]
    small = ticket("c", size=SMALL)
    scheduler.add(large)
    scheduler.add([small])
    scheduler.admit()
    steps = [scheduler.next_step() for _ in range(4)]
    assert steps == [tuple(large), (small,), tuple(large), (small,)]


def test_a_size_that_only_decodes_leaves_its_turn_to_the_others() -> None:
    scheduler = StepScheduler(rows=2)
    done, busy = ticket("done", steps=1), ticket("busy", size=SMALL)
    scheduler.add([done])
    scheduler.add([busy])
    scheduler.admit()
    assert scheduler.stepped(scheduler.next_step()) == [done]
    assert [scheduler.next_step() for _ in range(2)] == [(busy,), (busy,)]


def test_cancel_takes_out_waiting_and_running_images_and_frees_their_rows() -> None:
    scheduler = StepScheduler(rows=2)
    scheduler.add([ticket("a", 0), ticket("a", 1)])
    other = ticket("b")
    scheduler.add([other])
    scheduler.admit()
    scheduler.cancel("a")
    assert (scheduler.rows_in_use, scheduler.queued) == (0, 1)
    assert scheduler.admit() == [other]
    scheduler.cancel("nobody")
    assert scheduler.busy


def test_an_image_cancelled_during_its_step_is_not_done_after_it() -> None:
    scheduler = StepScheduler(rows=4)
    scheduler.add([ticket("a", steps=1)])
    scheduler.admit()
    step = scheduler.next_step()
    scheduler.cancel("a")
    assert scheduler.stepped(step) == []
    assert not scheduler.busy


def test_requests_expire_at_their_deadline_and_not_before() -> None:
    scheduler = StepScheduler(rows=2)
    scheduler.add([ticket("a")], deadline=10.0)
    scheduler.add([ticket("b")], deadline=10.5)
    scheduler.add([ticket("c")])
    scheduler.admit()
    assert scheduler.expire(9.999) == []
    assert scheduler.expire(10.0) == ["a"]
    assert scheduler.expire(10.0) == []
    assert scheduler.expire(math.inf) == ["b"]
    assert scheduler.queued == 1


def test_a_finished_request_does_not_expire() -> None:
    scheduler = StepScheduler(rows=4)
    images = [ticket("a", 0, steps=1), ticket("a", 1, steps=1)]
    scheduler.add(images, deadline=10.0)
    scheduler.admit()
    scheduler.stepped(scheduler.next_step())
    scheduler.finished(images[0])
    assert scheduler.expire(9.0) == []
    scheduler.finished(images[1])
    assert scheduler.expire(11.0) == []


@pytest.mark.parametrize("bad", [ticket("a", rows=3), ticket("a", rows=0), ticket("a", steps=0)])
def test_an_image_that_can_never_run_is_an_error(bad: Ticket) -> None:
    scheduler = StepScheduler(rows=2)
    with pytest.raises(ValueError, match="image"):
        scheduler.add([ticket("b"), bad])
    assert not scheduler.busy


STEPS = 5
images = st.tuples(st.sampled_from(SIZES), st.integers(1, 2), st.integers(1, STEPS))


@settings(max_examples=200)
@given(
    before=st.lists(images, max_size=6),
    wanted=images,
    after=st.lists(st.lists(images, max_size=4), max_size=60),
    rows=st.integers(2, 5),
)
def test_no_arrivals_make_an_image_wait_longer_than_its_bound(
    before: list[tuple[Size, int, int]],
    wanted: tuple[Size, int, int],
    after: list[list[tuple[Size, int, int]]],
    rows: int,
) -> None:
    """Whatever comes after it, at every step: smaller ones, other sizes, as many as you like."""
    scheduler, numbers = StepScheduler(rows), itertools.count()
    mine = Ticket("mine", 0, *wanted)
    scheduler.add([Ticket(f"r{next(numbers)}", 0, *image) for image in before])
    scheduler.add([mine])
    steps_to_rows = len([one for one in before if one[0] == mine.size]) * len(SIZES) * STEPS
    got_rows_at = None
    for step in itertools.count():
        for ticket in scheduler.admit():
            if ticket == mine:
                got_rows_at = step
        assert got_rows_at is not None or step < steps_to_rows
        assert got_rows_at is None or step <= got_rows_at + len(SIZES) * mine.steps
        done = scheduler.stepped(scheduler.next_step())
        for ticket in done:
            scheduler.finished(ticket)
        if mine in done:
            return
        arrivals = after[step] if step < len(after) else []
        scheduler.add([Ticket(f"r{next(numbers)}", 0, *image) for image in arrivals])


class AnyTraffic(RuleBasedStateMachine):
    """Arrivals, cancellations, expiries and steps in any order, against a model of the promises."""

    @initialize(rows=st.integers(2, 8))
    def start(self, rows: int) -> None:
        self.rows = rows
        self.scheduler = StepScheduler(rows)
        self.requests = 0
        self.now = 0.0
        self.waiting: dict[Size, list[Ticket]] = {size: [] for size in SIZES}
        self.running: dict[Ticket, int] = {}  # steps done
        self.deadlines: dict[str, float] = {}
        # The sizes that stepped since an image advanced: none may do so twice.
        self.passed: dict[Ticket, list[Size]] = {}

    @rule(
        images=st.lists(
            st.tuples(st.sampled_from(SIZES), st.integers(1, 2), st.integers(1, 6)),
            min_size=1,
            max_size=4,
        ),
        patience=st.none() | st.floats(0.5, 9.0),
    )
    def arrive(self, images: list[tuple[Size, int, int]], patience: float | None) -> None:
        self.requests += 1
        name = f"r{self.requests}"
        tickets = [Ticket(name, index, *image) for index, image in enumerate(images)]
        for one in tickets:
            self.waiting[one.size].append(one)
        if patience is None:
            self.scheduler.add(tickets)
        else:
            self.deadlines[name] = self.now + patience
            self.scheduler.add(tickets, self.now + patience)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        known = sorted({t.request for queue in self.waiting.values() for t in queue})
        known += sorted({t.request for t in self.running})
        name = data.draw(st.sampled_from([*known, "nobody"]))
        self.scheduler.cancel(name)
        self._forget(name)

    @rule(seconds=st.floats(0.0, 3.0))
    def expire(self, seconds: float) -> None:
        self.now += seconds
        live = {t.request for t, _ in self.scheduler.remaining()}
        due = {name for name, at in self.deadlines.items() if at <= self.now and name in live}
        assert set(self.scheduler.expire(self.now)) == due
        for name in due:
            self._forget(name)

    @rule()
    def admit(self) -> None:
        admitted = self.scheduler.admit()
        for size, queue in self.waiting.items():
            mine = [t for t in admitted if t.size == size]
            assert mine == queue[: len(mine)], "rows are given in order of arrival"
            del queue[: len(mine)]
        for one in admitted:
            self.running[one] = 0
            self.passed[one] = []
        for size, queue in self.waiting.items():
            free = self.rows - sum(t.rows for t in self.running if t.size == size)
            assert not queue or queue[0].rows > free, "rows stay free though someone waits"

    @rule()
    def step(self) -> None:
        step = self.scheduler.next_step()
        able = {t for t, done in self.running.items() if done < t.steps}
        assert bool(step) == bool(able)
        if not step:
            return
        size = step[0].size
        assert set(step) == {t for t in able if t.size == size}
        assert sum(t.rows for t in step) <= self.rows
        for one in able - set(step):
            assert size not in self.passed[one], (
                "a size stepped twice before it was this one's turn"
            )
            self.passed[one].append(size)
        for one in step:
            self.passed[one] = []
            self.running[one] += 1
        done = self.scheduler.stepped(step)
        assert done == [t for t in step if self.running[t] == t.steps]

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        done = [t for t, count in self.running.items() if count == t.steps]
        if done:
            one = data.draw(st.sampled_from(done))
            self.scheduler.finished(one)
            del self.running[one]

    @invariant()
    def counts_are_right(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        assert self.scheduler.rows_in_use == sum(t.rows for t in self.running)
        assert self.scheduler.queued == sum(map(len, self.waiting.values()))
        left = {t: t.steps - done for t, done in self.running.items()}
        left |= {t: t.steps for queue in self.waiting.values() for t in queue}
        assert dict(self.scheduler.remaining()) == left
        assert self.scheduler.busy == bool(left)

    def teardown(self) -> None:
        """Whatever has happened: without more arrivals, everyone gets all of their steps."""
        if not hasattr(self, "scheduler"):
            return
        for _ in range(10_000):
            if not self.scheduler.busy:
                break
            self.admit()
            self.step()
            for one in [t for t, count in self.running.items() if count == t.steps]:
                self.scheduler.finished(one)
                del self.running[one]
        assert not self.scheduler.busy
        assert not self.running

    def _forget(self, name: str) -> None:
        for queue in self.waiting.values():
            queue[:] = [t for t in queue if t.request != name]
        self.running = {t: n for t, n in self.running.items() if t.request != name}


TestAnyTraffic = AnyTraffic.TestCase
TestAnyTraffic.settings = settings(max_examples=60, stateful_step_count=40)
