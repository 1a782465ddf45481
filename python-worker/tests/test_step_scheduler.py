"""The step scheduler: which images share a step, and how long others wait."""

import itertools
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from easel_worker.engine import StepShape
from easel_worker.fake.engine import FakeLane
from easel_worker.image import Image
from easel_worker.step_scheduler import StepScheduler
from easel_worker.values import Size
from tests.support.samples import image

LARGE = Size(1024, 1024)
SMALL = Size(512, 512)
SIZES = (LARGE, SMALL, Size(768, 512))
CHUNK_COUNTS = (1, 3)
KINDS = len(SIZES) * len(CHUNK_COUNTS)
MOST_SHAPES = KINDS * 3
"""Each size and length with controls and without, and refined."""


def test_images_of_one_size_share_a_step_whatever_their_steps_and_rows() -> None:
    scheduler = StepScheduler(rows=4)
    a, b = image("a", rows=1, steps=2), image("b", rows=2, steps=9)
    scheduler.add([a])
    scheduler.add([b])
    assert scheduler.admit() == [a, b]
    assert scheduler.next_step() == [a, b]


def test_an_image_joins_at_the_next_step_and_leaves_when_it_is_done() -> None:
    scheduler = StepScheduler(rows=4)
    first, second = image("first", steps=2), image("second", steps=2)
    scheduler.add([first])
    scheduler.admit()
    assert scheduler.stepped(scheduler.next_step()) == []
    scheduler.add([second])
    scheduler.admit()
    assert scheduler.stepped(scheduler.next_step()) == [first]
    scheduler.finished(first)
    assert scheduler.next_step() == [second]


def test_rows_are_in_use_until_the_image_is_decoded() -> None:
    scheduler = StepScheduler(rows=2)
    first, second = image("first", steps=1), image("second")
    scheduler.add([first])
    scheduler.add([second])
    assert scheduler.admit() == [first]
    assert scheduler.stepped(scheduler.next_step()) == [first]
    assert (scheduler.rows_in_use, scheduler.queued, scheduler.admit()) == (2, 1, [])
    assert scheduler.next_step() == []
    scheduler.finished(first)
    assert scheduler.admit() == [second]


def test_no_image_overtakes_one_that_needs_two_rows() -> None:
    scheduler = StepScheduler(rows=3)
    running, wide, narrow = image("running"), image("wide"), image("narrow", rows=1)
    for one in (running, wide, narrow):
        scheduler.add([one])
    assert scheduler.admit() == [running]
    scheduler.cancel("running")
    assert scheduler.admit() == [wide, narrow]


def test_sizes_take_turns() -> None:
    scheduler = StepScheduler(rows=4)
    large = [image("a"), image("b")]
    small = image("c", size=SMALL)
    scheduler.add(large)
    scheduler.add([small])
    scheduler.admit()
    steps = [scheduler.next_step() for _ in range(4)]
    assert steps == [large, [small], large, [small]]


def test_prompts_of_different_lengths_share_the_rows_of_a_size_and_take_turns() -> None:
    scheduler = StepScheduler(rows=4)
    short, long, waits = image("short"), image("long", chunks=2), image("waits", chunks=2)
    for one in (short, long, waits):
        scheduler.add([one])
    assert scheduler.admit() == [short, long]
    assert [scheduler.next_step() for _ in range(3)] == [[short], [long], [short]]
    scheduler.cancel("short")
    assert scheduler.admit() == [waits]
    assert scheduler.next_step() == [long, waits]


def test_controlled_and_plain_images_share_the_rows_of_a_size_and_take_turns() -> None:
    scheduler = StepScheduler(rows=6)
    plain, led, waits = image("plain"), image("led", controlled=True), image("w", controlled=True)
    other = image("other", controlled=True)
    for one in (plain, led, waits, other):
        scheduler.add([one])
    assert scheduler.admit() == [plain, led, waits]
    assert [scheduler.next_step() for _ in range(3)] == [[plain], [led, waits], [plain]]
    scheduler.cancel("plain")
    assert scheduler.admit() == [other]
    assert scheduler.next_step() == [led, waits, other]


def test_a_size_without_steps_left_takes_no_turn() -> None:
    scheduler = StepScheduler(rows=2)
    done, busy = image("done", steps=1), image("busy", size=SMALL)
    scheduler.add([done])
    scheduler.add([busy])
    scheduler.admit()
    assert scheduler.stepped(scheduler.next_step()) == [done]
    assert [scheduler.next_step() for _ in range(2)] == [[busy], [busy]]


def test_cancel_takes_out_waiting_and_running_images_and_frees_their_rows() -> None:
    scheduler = StepScheduler(rows=2)
    scheduler.add([image("a", 0), image("a", 1)])
    other = image("b")
    scheduler.add([other])
    scheduler.admit()
    assert scheduler.cancel("a")
    assert (scheduler.rows_in_use, scheduler.queued) == (0, 1)
    assert scheduler.admit() == [other]
    assert not scheduler.cancel("nobody")
    assert scheduler.busy


def test_an_ended_image_releases_its_lane() -> None:
    scheduler = StepScheduler(rows=4)
    images = [image("cancelled"), image("finished", steps=1)]
    for one in images:
        scheduler.add([one])
    scheduler.admit()
    for one in images:
        one.lane = FakeLane(one.spec, one.evaluations)
    scheduler.cancel("cancelled")
    scheduler.finished(*scheduler.stepped(scheduler.next_step()))
    assert not any(hasattr(one, "lane") for one in images)


def test_an_image_cancelled_during_its_step_is_not_done_after_it() -> None:
    scheduler = StepScheduler(rows=4)
    scheduler.add([image("a", steps=1)])
    scheduler.admit()
    step = scheduler.next_step()
    scheduler.cancel("a")
    assert scheduler.stepped(step) == []
    assert not scheduler.busy


def test_where_the_refiner_takes_over_an_image_joins_those_of_the_refiner() -> None:
    scheduler = StepScheduler(rows=8, sets=1)
    first, second = image("a", steps=4, handover=1), image("b", steps=4, loras="x", handover=2)
    plain, other = image("c", steps=4), image("d", loras="y")
    for one in (first, second, plain, other):
        scheduler.add([one])
    assert scheduler.admit() == [first, second, plain]  # y waits for the place of x
    steps = []
    for _ in range(6):
        step = scheduler.next_step()
        steps.append({one.request.id for one in step})
        scheduler.stepped(step)
    assert steps == [{"a", "c"}, {"b"}, {"c"}, {"a"}, {"b"}, {"c"}]
    assert scheduler.admit() == [other]  # the refiner has no LoRAs, so the place is free
    together = [scheduler.next_step(), scheduler.next_step()]
    assert [first, second] in together


def test_requests_expire_at_their_deadline_and_not_before() -> None:
    scheduler = StepScheduler(rows=2)
    scheduler.add([image("a", timeout_s=10.0)])
    scheduler.add([image("b", arrived=4.0, timeout_s=6.5)])
    scheduler.add([image("c")])
    scheduler.admit()
    assert scheduler.expired(9.999) == []
    assert scheduler.expired(10.0) == ["a"]
    assert scheduler.expired(sys.float_info.max) == ["a", "b"]


def test_a_finished_request_does_not_expire() -> None:
    scheduler = StepScheduler(rows=4)
    images = [image("a", index, steps=1, timeout_s=10.0) for index in (0, 1)]
    scheduler.add(images)
    scheduler.admit()
    scheduler.stepped(scheduler.next_step())
    scheduler.finished(images[0])
    assert scheduler.expired(11.0) == ["a"]
    scheduler.finished(images[1])
    assert scheduler.expired(11.0) == []


@pytest.mark.parametrize("bad", [image("a", rows=2), image("a", rows=1, steps=0)])
def test_refuses_an_image_that_can_never_run(bad: Image) -> None:
    scheduler = StepScheduler(rows=1)
    with pytest.raises(ValueError, match="image"):
        scheduler.add([image("b", rows=1), bad])
    assert not scheduler.busy


def test_images_of_different_loras_share_the_rows_of_a_size_and_take_turns() -> None:
    scheduler = StepScheduler(rows=6, sets=1)
    plain, ink, other = image("plain"), image("ink", loras="a"), image("other", loras="a")
    for one in (plain, ink, other):
        scheduler.add([one])
    assert scheduler.admit() == [plain, ink, other]
    assert [scheduler.next_step() for _ in range(3)] == [[plain], [ink, other], [plain]]


def test_an_image_waits_until_a_set_of_loras_has_left() -> None:
    scheduler = StepScheduler(rows=8, sets=1)
    ink, oil, both = image("ink", loras="a"), image("oil", loras="b"), image("both", loras="ab")
    for one in (ink, oil, both):
        scheduler.add([one])
    assert scheduler.admit() == [ink]
    scheduler.cancel("ink")
    assert scheduler.admit() == [oil]
    scheduler.cancel("oil")
    assert scheduler.admit() == [both]


def test_few_images_pass_one_that_waits_for_its_set() -> None:
    scheduler = StepScheduler(rows=20, sets=1, passes=2)
    scheduler.add([image("ink", loras="a")])
    scheduler.admit()
    waits = image("waits", loras="b")
    same, plain = image("same", loras="a"), image("plain")
    late = [image("late", loras="a"), image("late too")]
    elsewhere = image("elsewhere", size=SMALL)
    for one in (waits, same, plain, *late, elsewhere):
        scheduler.add([one])
    assert scheduler.admit() == [same, plain, elsewhere]
    for name in ("ink", "same"):
        scheduler.cancel(name)
    assert scheduler.admit() == [waits, late[1]]


def test_a_set_that_waits_for_rows_keeps_its_place() -> None:
    scheduler = StepScheduler(rows=2, sets=1)
    scheduler.add([image("running")])
    scheduler.admit()
    first, other = image("first", loras="a"), image("other", loras="b", size=SMALL)
    scheduler.add([first])
    scheduler.add([other])
    assert scheduler.admit() == []
    scheduler.cancel("running")
    assert scheduler.admit() == [first]


def test_refuses_an_image_with_loras_without_a_place_for_a_set() -> None:
    with pytest.raises(ValueError, match="LoRAs"):
        StepScheduler(rows=2).add([image("a", loras="a")])


STEPS = 5
Kind = dict[str, Any]
"""Arguments of `image`."""


def kinds_of(steps: int) -> st.SearchStrategy[Kind]:
    return st.fixed_dictionaries(
        {
            "size": st.sampled_from(SIZES),
            "rows": st.integers(1, 2),
            "steps": st.integers(1, steps),
            "chunks": st.sampled_from(CHUNK_COUNTS),
            "controlled": st.booleans(),
            "handover": st.none() | st.integers(1, 3),
        }
    )


kinds = kinds_of(STEPS)
kinds_with_loras = st.builds(
    lambda kind, loras: kind | {"loras": loras}, kinds, st.sampled_from(["", "a", "b", "ab"])
)


def plays_within(
    scheduler: StepScheduler,
    before: list[Kind],
    wanted: Kind,
    after: list[list[Kind]],
    *,
    steps_to_rows: int,
    most_shapes: int,
) -> Iterator[list[Image]]:
    """Play until the wanted image is done, and check both bounds; yields the images of each step.

    Images of `before` arrive before it, those of `after` after each step.
    """
    numbers = itertools.count()
    mine = image("mine", 0, **wanted)
    for kind in before:
        scheduler.add([image(f"r{next(numbers)}", 0, **kind)])
    scheduler.add([mine])
    got_rows_at = None
    for step in itertools.count():
        if mine in scheduler.admit():
            got_rows_at = step
        assert got_rows_at is not None or step < steps_to_rows
        assert got_rows_at is None or step <= got_rows_at + most_shapes * mine.spec.steps
        stepping = scheduler.next_step()
        yield stepping
        done = scheduler.stepped(stepping)
        for each in done:
            scheduler.finished(each)
        if mine in done:
            return
        for kind in after[step] if step < len(after) else []:
            scheduler.add([image(f"r{next(numbers)}", 0, **kind)])


@settings(max_examples=200)
@given(
    before=st.lists(kinds, max_size=6),
    wanted=kinds,
    after=st.lists(st.lists(kinds, max_size=4), max_size=60),
    rows=st.integers(2, 5),
)
def test_no_arrivals_make_an_image_wait_longer_than_its_bound(
    before: list[Kind],
    wanted: Kind,
    after: list[list[Kind]],
    rows: int,
) -> None:
    """Images of any size, rows and length may arrive at every step."""
    ahead = len([one for one in before if one["size"] == wanted["size"]])
    steps_to_rows = ahead * MOST_SHAPES * STEPS
    scheduler = StepScheduler(rows)
    for _ in plays_within(
        scheduler, before, wanted, after, steps_to_rows=steps_to_rows, most_shapes=MOST_SHAPES
    ):
        pass


@settings(max_examples=150)
@given(
    before=st.lists(kinds_with_loras, max_size=6),
    wanted=kinds_with_loras,
    after=st.lists(st.lists(kinds_with_loras, max_size=4), max_size=60),
    room=st.tuples(st.integers(2, 5), st.integers(1, 2), st.integers(0, 2)),
)
def test_no_arrivals_with_loras_make_an_image_wait_longer_than_its_bound(
    before: list[Kind],
    wanted: Kind,
    after: list[list[Kind]],
    room: tuple[int, int, int],
) -> None:
    """Images with any LoRAs may arrive at every step. The room is rows, sets and passes."""
    rows, sets, passes = room
    most_shapes = KINDS * (2 * (1 + sets) + 1)
    ahead = len([one for one in before if one["size"] == wanted["size"] or one["loras"]])
    steps_to_rows = (ahead + (ahead + 1) * passes) * most_shapes * STEPS
    scheduler = StepScheduler(rows, sets, passes)
    for stepping in plays_within(
        scheduler, before, wanted, after, steps_to_rows=steps_to_rows, most_shapes=most_shapes
    ):
        running = [one for one in scheduler.images() if one.state == "running"]
        assert len({one.shape.adapters for one in running} - {()}) <= sets
        assert len({one.shape for one in stepping}) <= 1


class AnyTraffic(RuleBasedStateMachine):
    """Arrivals, cancellations, expiries and steps in any order, checked against a model."""

    @initialize(rows=st.integers(2, 8))
    def start(self, rows: int) -> None:
        self.rows = rows
        self.scheduler = StepScheduler(rows)
        self.requests = 0
        self.now = 0.0
        self.waiting: dict[Size, list[Image]] = {size: [] for size in SIZES}
        self.running: dict[Image, int] = {}  # steps done
        # The shapes that stepped since an image advanced: none may do so twice.
        self.passed: dict[Image, list[StepShape]] = {}

    @rule(
        kinds=st.lists(kinds_of(6), min_size=1, max_size=4),
        patience=st.none() | st.floats(0.5, 9.0),
    )
    def arrive(self, kinds: list[Kind], patience: float | None) -> None:
        self.requests += 1
        images = [
            image(f"r{self.requests}", index, **kind, arrived=self.now, timeout_s=patience)
            for index, kind in enumerate(kinds)
        ]
        for one in images:
            self.waiting[one.spec.size].append(one)
        self.scheduler.add(images)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        known = sorted({one.request.id for one in self._images()})
        self._cancel(data.draw(st.sampled_from([*known, "nobody"])))

    @rule(seconds=st.floats(0.0, 3.0))
    def expire(self, seconds: float) -> None:
        self.now += seconds
        due = {one.request.id for one in self._images() if one.deadline <= self.now}
        assert set(self.scheduler.expired(self.now)) == due
        for name in due:
            self._cancel(name)

    @rule()
    def admit(self) -> None:
        admitted = self.scheduler.admit()
        for size, queue in self.waiting.items():
            mine = [one for one in admitted if one.spec.size == size]
            assert mine == queue[: len(mine)], "rows are given in order of arrival"
            del queue[: len(mine)]
        for one in admitted:
            self.running[one] = 0
            self.passed[one] = []
        for size, queue in self.waiting.items():
            free = self.rows - sum(one.spec.rows for one in self.running if one.spec.size == size)
            assert not queue or queue[0].spec.rows > free, "rows stay free though someone waits"

    @rule()
    def step(self) -> None:
        step = self.scheduler.next_step()
        able = {one for one, done in self.running.items() if done < one.spec.steps}
        assert bool(step) == bool(able)
        if not step:
            return
        shape = self._shape(step[0])
        assert set(step) == {one for one in able if self._shape(one) == shape}
        assert sum(one.spec.rows for one in step) <= self.rows
        for one in able - set(step):
            assert shape not in self.passed[one], (
                "a shape stepped twice before it was this one's turn"
            )
            self.passed[one].append(shape)
        for one in step:
            self.passed[one] = []
            self.running[one] += 1
        done = self.scheduler.stepped(step)
        assert done == [one for one in step if self.running[one] == one.spec.steps]

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        done = [one for one, count in self.running.items() if count == one.spec.steps]
        if done:
            one = data.draw(st.sampled_from(done))
            self.scheduler.finished(one)
            del self.running[one]

    @invariant()
    def counts_are_right(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        assert self.scheduler.rows_in_use == sum(one.spec.rows for one in self.running)
        assert self.scheduler.queued == sum(map(len, self.waiting.values()))
        left = {one: one.spec.steps - done for one, done in self.running.items()}
        left |= {one: one.spec.steps for queue in self.waiting.values() for one in queue}
        assert {one: one.steps_left for one in self.scheduler.images()} == left
        assert self.scheduler.busy == bool(left)

    def teardown(self) -> None:
        """Without further arrivals every image gets all of its steps."""
        if not hasattr(self, "scheduler"):
            return
        for _ in range(10_000):
            if not self.scheduler.busy:
                break
            self.admit()
            self.step()
            for one in [one for one, count in self.running.items() if count == one.spec.steps]:
                self.scheduler.finished(one)
                del self.running[one]
        assert not self.scheduler.busy
        assert not self.running

    def _images(self) -> list[Image]:
        return [*self.running, *itertools.chain(*self.waiting.values())]

    def _shape(self, one: Image) -> StepShape:
        refined = one.handover is not None and self.running[one] >= one.handover
        return one.spec.refined_shape if refined else one.spec.shape

    def _cancel(self, name: str) -> None:
        """Cancel a request twice: it ends only once."""
        ended = [one for one in self._images() if one.request.id == name]
        assert self.scheduler.cancel(name) == bool(ended)
        assert not self.scheduler.cancel(name)
        assert all(one.ended for one in ended)
        for queue in self.waiting.values():
            queue[:] = [one for one in queue if not one.ended]
        self.running = {one: n for one, n in self.running.items() if not one.ended}


TestAnyTraffic = AnyTraffic.TestCase
TestAnyTraffic.settings = settings(max_examples=60, stateful_step_count=40)
