"""Wakes a thread that polls ZeroMQ sockets, from any other thread."""

import contextlib
import threading

import zmq


class Alarm:
    """Interrupts the I/O thread's poll from other threads."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        name = f"inproc://alarm-{id(self)}"
        self.bell = context.socket(zmq.PAIR)
        self._rope = context.socket(zmq.PAIR)
        for end in (self.bell, self._rope):
            end.setsockopt(zmq.LINGER, 0)
        self.bell.bind(name)
        self._rope.connect(name)
        # The lock is also the memory fence that ZeroMQ asks of sockets used by several threads.
        self._lock = threading.Lock()
        self._ringing = False
        self._closed = False

    def ring(self) -> None:
        """Wake the I/O thread; from any thread."""
        with self._lock:
            if not self._ringing and not self._closed:
                self._ringing = True
                self._rope.send(b"", zmq.NOBLOCK)

    def silence(self) -> None:
        """The I/O thread is awake."""
        with self._lock:
            self._ringing = False
            with contextlib.suppress(zmq.Again):
                self.bell.recv(zmq.NOBLOCK)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self.bell.close()
            self._rope.close()
