"""The outbox is bounded, and no message crosses from one session into the next."""

import threading

from easel_worker.codec import unpack
from easel_worker.outbox import Outbox
from easel_worker.protocol import FROM_WORKER, Failed, FromWorker, Progress, Result, Timings

PROGRESS = Progress("r", 0, "denoising", 1, 4)
RESULT = Result("r", 0, 1, 10, 10, Timings(0.0, 0.0, 0.0, 0.0), bytes(300))


def failed(request: str) -> Failed:
    return Failed(request, "internal", "")


def drain(outbox: Outbox) -> list[FromWorker]:
    messages = []
    while (frames := outbox.first()) is not None:
        messages.append(unpack(frames, FROM_WORKER))
        outbox.pop()
    return messages


def putting(outbox: Outbox, message: FromWorker) -> threading.Thread:
    """A thread that is blocked in `put`."""
    thread = threading.Thread(target=outbox.put, args=(message,))
    thread.start()
    thread.join(0.05)
    return thread


def test_messages_come_out_in_order_and_each_wakes_the_reader() -> None:
    rings: list[None] = []
    outbox = Outbox(lambda: rings.append(None))
    outbox.put(PROGRESS)
    outbox.put(failed("a"))
    assert len(rings) == 2
    assert drain(outbox) == [PROGRESS, failed("a")]
    assert outbox.first() is None


def test_progress_is_dropped_while_the_queue_is_full() -> None:
    outbox = Outbox(lambda: None, max_messages=2)
    outbox.put(PROGRESS)
    outbox.put(failed("a"))
    outbox.put(PROGRESS)
    assert outbox.left_out == 1
    assert drain(outbox) == [PROGRESS, failed("a")]


def test_a_result_waits_for_room() -> None:
    outbox = Outbox(lambda: None, max_bytes=300)
    outbox.put(RESULT)
    thread = putting(outbox, RESULT)
    assert thread.is_alive()
    outbox.pop()
    thread.join(5)
    assert not thread.is_alive()
    assert drain(outbox) == [RESULT]


def test_a_cut_releases_waiting_writers_and_drops_messages_until_resume() -> None:
    outbox = Outbox(lambda: None, max_messages=1)
    outbox.put(failed("old"))
    thread = putting(outbox, failed("blocked"))
    outbox.cut()
    thread.join(5)
    assert not thread.is_alive()
    outbox.put(failed("unaware"))
    assert drain(outbox) == []
    outbox.resume()
    outbox.put(failed("new"))
    assert drain(outbox) == [failed("new")]


def test_two_cuts_need_two_resumes() -> None:
    outbox = Outbox(lambda: None)
    outbox.cut()
    outbox.cut()
    outbox.resume()
    outbox.put(failed("between"))
    outbox.resume()
    outbox.put(failed("after"))
    assert drain(outbox) == [failed("after")]


def test_queued_messages_can_be_sent_after_close() -> None:
    outbox = Outbox(lambda: None, max_messages=1)
    outbox.put(failed("last"))
    thread = putting(outbox, failed("blocked"))
    outbox.close()
    thread.join(5)
    assert not thread.is_alive()
    outbox.put(failed("late"))
    assert drain(outbox) == [failed("last")]
