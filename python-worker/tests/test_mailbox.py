"""Events for the loop, from any thread."""

import threading

from easel_worker.mailbox import Lost, Mailbox


def test_take_returns_all_events_in_order() -> None:
    mailbox = Mailbox()
    mailbox.put(Lost("a"))
    mailbox.put(Lost("b"))
    assert mailbox.take(0) == [Lost("a"), Lost("b")]
    assert mailbox.take(0) == []


def test_the_reader_waits_for_the_first_event() -> None:
    mailbox = Mailbox()
    timer = threading.Timer(0.02, mailbox.put, [Lost("late")])
    timer.start()
    assert mailbox.take(30) == [Lost("late")]
    timer.join()


def test_it_is_full_at_its_capacity() -> None:
    mailbox = Mailbox(capacity=2)
    mailbox.put(Lost("a"))
    assert not mailbox.full
    mailbox.put(Lost("b"))
    assert mailbox.full
    mailbox.take(0)
    assert not mailbox.full
