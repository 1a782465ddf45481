"""The benchmarks' peers do what they are said to do, and are not made worse than they are."""

from bench.policies import POLICIES, RunToCompletion
from easel_worker.image import Image
from easel_worker.step_scheduler import StepScheduler
from tests.support.samples import image

SMALL = (512, 512)


def play(scheduler: StepScheduler) -> list[list[str]]:
    """Run until nothing is left; who was in each step."""
    steps = []
    while scheduler.busy:
        scheduler.admit()
        step = scheduler.next_step()
        steps.append([one.request.id for one in step])
        for done in scheduler.stepped(step):
            scheduler.finished(done)
    return steps


def filled(scheduler: StepScheduler, *images: Image) -> StepScheduler:
    for one in images:
        scheduler.add([one])
    return scheduler


def test_a_batch_runs_until_its_longest_is_done_and_nobody_joins_it() -> None:
    waiting = image("a", steps=1), image("b", steps=3), image("c", steps=1)
    steps = play(filled(RunToCompletion(rows=4), *waiting))
    assert steps == [["a", "b"], ["b"], ["b"], ["c"]]


def test_a_batch_has_the_size_that_waits_longest_and_all_of_it_that_fits() -> None:
    waiting = image("a", size=SMALL, steps=1), image("b", steps=1), image("c", size=SMALL, steps=1)
    assert play(filled(RunToCompletion(rows=4), *waiting)) == [["a", "c"], ["b"]]


def test_one_request_at_a_time_in_order_of_arrival() -> None:
    waiting = image("a", steps=2), image("b", size=SMALL, rows=1, steps=1), image("c", steps=1)
    steps = play(filled(POLICIES["single"](64), *waiting))
    assert steps == [["a"], ["a"], ["b"], ["c"]]


def test_a_cancelled_batch_makes_room_for_the_next() -> None:
    scheduler = filled(RunToCompletion(rows=4), image("a"), image("b"), image("c"))
    scheduler.admit()
    scheduler.cancel("a")
    assert scheduler.admit() == []
    scheduler.cancel("b")
    assert [one.request.id for one in scheduler.admit()] == ["c"]
