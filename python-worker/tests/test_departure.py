"""Which images still fit before the worker leaves."""

import pytest

from easel_worker.departure import Departure, Pace
from easel_worker.scheduler import Ticket

SIZE = (1024, 1024)


def ticket(request: str) -> Ticket:
    return Ticket(request, 0, SIZE, 2, 40)


def measured(step_s: float, decode_s: float = 0.0) -> Pace:
    pace = Pace()
    pace.stepped(SIZE, step_s)
    pace.decoded(SIZE, decode_s)
    return pace


def test_what_cannot_be_done_in_time_even_alone_is_told_at_once() -> None:
    images = [(ticket("fits"), 20), (ticket("does not"), 21)]
    assert list(Departure(110.0, "").too_late(images, measured(0.5), now=100.0)) == ["does not"]


def test_decoding_counts() -> None:
    images = [(ticket("a"), 20)]
    assert list(Departure(110.0, "").too_late(images, measured(0.5, 0.1), now=100.0)) == ["a"]


def test_what_was_never_measured_is_tried() -> None:
    images = [(ticket("a"), 40)]
    assert not Departure(110.0, "").too_late(images, Pace(), now=109.9)


def test_when_the_time_is_over_all_are_too_late() -> None:
    images = [(ticket("a"), 1), (ticket("a"), 1), (ticket("b"), 40)]
    assert list(Departure(110.0, "").too_late(images, Pace(), now=110.0)) == ["a", "b"]


def test_pace_follows_what_is_measured() -> None:
    pace = measured(1.0)
    for _ in range(30):
        pace.stepped(SIZE, 0.5)
    assert pace.at_least_s(SIZE, 10) == pytest.approx(5.0, rel=1e-3)


def test_a_later_departure_does_not_give_more_time() -> None:
    soon, late = Departure(1.0, "soon"), Departure(2.0, "late")
    assert soon.or_sooner(None) is soon
    assert late.or_sooner(soon) is soon
    assert soon.or_sooner(late) is soon
