"""The benchmarks' other policies schedule as documented, and no worse than real servers."""

from bench.policies import POLICIES, RunToCompletion
from easel_worker.image import Image
from easel_worker.step_scheduler import StepScheduler
from easel_worker.values import Size
from tests.support.samples import image

SMALL = Size(512, 512)


def play(scheduler: StepScheduler) -> list[list[str]]:
    """Run until no image is left; return the images of each step."""
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


def test_no_image_joins_a_batch_before_its_longest_image_is_done() -> None:
    waiting = image("a", steps=1), image("b", steps=3), image("c", steps=1)
    steps = play(filled(RunToCompletion(rows=4), *waiting))
    assert steps == [["a", "b"], ["b"], ["b"], ["c"]]


def test_a_batch_takes_as_many_images_as_fit_of_the_size_that_waits_longest() -> None:
    waiting = image("a", size=SMALL, steps=1), image("b", steps=1), image("c", size=SMALL, steps=1)
    assert play(filled(RunToCompletion(rows=4), *waiting)) == [["a", "c"], ["b"]]


def test_single_images_run_in_order_of_arrival() -> None:
    waiting = image("a", steps=2), image("b", size=SMALL, rows=1, steps=1), image("c", steps=1)
    steps = play(filled(POLICIES["single"](64), *waiting))
    assert steps == [["a"], ["a"], ["b"], ["c"]]


def test_the_next_batch_follows_a_cancelled_one() -> None:
    scheduler = filled(RunToCompletion(rows=4), image("a"), image("b"), image("c"))
    scheduler.admit()
    scheduler.cancel("a")
    assert scheduler.admit() == []
    scheduler.cancel("b")
    assert [one.request.id for one in scheduler.admit()] == ["c"]
