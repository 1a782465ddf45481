"""A bounded queue of outgoing messages: the loop fills it, the transport's thread empties it."""

import threading
from collections import deque
from collections.abc import Callable

from easel_worker.codec import pack
from easel_worker.protocol import Buffer, FromWorker, Progress

MAX_BYTES = 64 << 20
MAX_MESSAGES = 256


class Outbox:
    """A queue with one reader.

    While it is full, it drops PROGRESS (the next one says more), and `put` of any other message
    waits: the gateway reads too slowly, so more images would only fill the memory. After `cut` it
    drops every message until the loop calls `resume`, so that no message of an ended session
    reaches the next one.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        max_bytes: int = MAX_BYTES,
        max_messages: int = MAX_MESSAGES,
    ) -> None:
        """Args:

        wake: called from any thread when there is a new message to send.
        max_bytes: the queue is full from this many bytes on.
        max_messages: the queue is full from this many messages on.
        """
        self._wake = wake
        self._max_bytes = max_bytes
        self._max_messages = max_messages
        self._queue: deque[list[Buffer]] = deque()
        self._bytes = 0
        self._cuts = 0
        self._closed = False
        self._changed = threading.Condition()
        self.left_out = 0

    def put(self, message: FromWorker) -> None:
        """Queue a message; waits while the queue is full."""
        with self._changed:
            if isinstance(message, Progress) and self._full():
                self.left_out += 1
                return
            self._changed.wait_for(lambda: not self._full() or self._dropping())
            if self._dropping():
                return
            frames = pack(message)
            self._queue.append(frames)
            self._bytes += _size(frames)
        self._wake()

    def resume(self) -> None:
        """The loop has dropped the ended session's requests: accept messages again."""
        with self._changed:
            self._cuts -= 1

    def first(self) -> list[Buffer] | None:
        """The frames to send next; they stay until `pop`."""
        with self._changed:
            return self._queue[0] if self._queue else None

    def pop(self) -> None:
        """Remove the first message, which has been sent."""
        with self._changed:
            self._bytes -= _size(self._queue.popleft())
            self._changed.notify_all()

    def cut(self) -> None:
        """The session is over: drop all messages, and further ones until `resume`."""
        with self._changed:
            self._cuts += 1
            self._queue.clear()
            self._bytes = 0
            self._changed.notify_all()

    def close(self) -> None:
        """Drop further messages; queued ones may still be sent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _full(self) -> bool:
        return self._bytes >= self._max_bytes or len(self._queue) >= self._max_messages

    def _dropping(self) -> bool:
        return self._closed or self._cuts > 0


def _size(frames: list[Buffer]) -> int:
    return sum(memoryview(frame).nbytes for frame in frames)
