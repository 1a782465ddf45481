"""Wakes a thread that polls ZeroMQ sockets."""

import contextlib
import threading

import zmq


class Waker:
    """Interrupts the I/O thread's poll from any other thread."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        name = f"inproc://waker-{id(self)}"
        self.socket = context.socket(zmq.PAIR)
        """For the I/O thread to poll."""
        self._sender = context.socket(zmq.PAIR)
        for end in (self.socket, self._sender):
            end.setsockopt(zmq.LINGER, 0)
        self.socket.bind(name)
        self._sender.connect(name)
        # The lock is also the memory fence that ZeroMQ requires if several threads use a socket.
        self._lock = threading.Lock()
        self._pending = False
        self._closed = False

    def wake(self) -> None:
        """Wake the I/O thread. Call it from any thread."""
        with self._lock:
            if not self._pending and not self._closed:
                self._pending = True
                self._sender.send(b"", zmq.NOBLOCK)

    def clear(self) -> None:
        """Reset after waking. Only the I/O thread calls this."""
        with self._lock:
            self._pending = False
            with contextlib.suppress(zmq.Again):
                self.socket.recv(zmq.NOBLOCK)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self.socket.close()
            self._sender.close()
