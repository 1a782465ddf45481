"""Writes log lines to a file descriptor from a thread of its own, so that serving never waits.

A log's reader may have stopped (a full pipe), exited (a broken pipe) or run out of disk space. So
`put` only queues a line, and the thread writes it. A line that does not fit into the queue, or that
cannot be written, is dropped and counted; once writing works again, one line says how many were
lost. A process that is killed or crashes in native code may lose the lines of its last
milliseconds; one that exits through `easel_worker.ending` does not.

Not covered: `faulthandler` and native libraries (XLA's own log) write to the same descriptor
directly, because they must work without any Python thread. They block while the pipe is full, and
so does the exit by faulthandler's timer. `easel_worker.parent` ends such a process when the gateway
ends.
"""

import atexit
import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Callable

STDERR = 2
QUEUE_BYTES = 1 << 20
"""How many bytes may wait to be written: about 5,000 lines."""
FLUSH_S = 0.5
"""How many seconds an exit waits for the last lines."""


class LogWriter:
    """A queue of lines and a thread that writes them, which starts with the first line.

    Safe to use from several threads.
    """

    def __init__(
        self,
        lost_line: Callable[[int], bytes],
        descriptor: int = STDERR,
        *,
        queue_bytes: int = QUEUE_BYTES,
        write: Callable[[int, memoryview], int] = os.write,
    ) -> None:
        """Args:

        lost_line: makes the line that says how many lines were lost.
        descriptor: where to write.
        queue_bytes: how many bytes may wait.
        write: the operating system's function; tests pass one that fails.
        """
        self._lost_line = lost_line
        self._descriptor = descriptor
        self._room = queue_bytes
        self._write_some = write
        # Its lock is reentrant, because the garbage collector may run inside `put` and call
        # something that logs a warning, which calls `put` on the same thread.
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._writing = False
        self._lost = 0
        self._failing = False
        self._torn = False
        self._thread: threading.Thread | None = None

    def put(self, line: bytes) -> None:
        """Queue a line that ends with a newline. Never blocks and never raises."""
        with self._changed:
            if len(line) > self._room or not self._running():
                self._lost += 1
                return
            self._room -= len(line)
            self._lines.append(line)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all lines are written or dropped, at most `timeout_s` seconds.

        Returns whether they are.
        """
        with self._changed:
            return self._changed.wait_for(self._idle, timeout_s)

    def _idle(self) -> bool:
        return not self._lines and not self._writing

    def _running(self) -> bool:
        """Start the writing thread if it is not running; returns whether it runs."""
        if self._thread is not None and self._thread.is_alive():
            return True
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the thread limit is reached, or the interpreter is shutting down
            return False
        if self._thread is None:
            # At exit the interpreter stops daemon threads at any point.
            atexit.register(self.flush, FLUSH_S)
        self._thread = thread
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                line = self._lines.popleft()
                self._room += len(line)
                self._writing = True
            # After a failed write, write the count first: the loss is older than this line, and the
            # write shows whether writing works again. After a full queue, write it last.
            written = (not self._failing or self._report()) and self._write(line)
            with self._changed:
                self._lost += not written
                tell = written and not self._lines
            if tell:
                self._report()
            with self._changed:
                self._writing = False
                self._changed.notify_all()

    def _report(self) -> bool:
        """Write how many lines were lost, if any were; returns whether writing works."""
        with self._changed:
            lost = self._lost
        if lost == 0:
            return True
        if not self._write(self._lost_line(lost)):
            return False
        with self._changed:
            self._lost -= lost
        return True

    def _write(self, line: bytes) -> bool:
        """Write a line; returns whether all of it was written."""
        rest = memoryview(b"\n" + line if self._torn else line)
        try:
            while rest:
                rest = rest[self._write_once(rest) :]
                self._torn = bool(rest)
        except OSError:
            self._failing = True
            return bytes(rest) == b"\n"  # the next line starts with the missing newline
        self._failing = False
        return True

    def _write_once(self, data: memoryview) -> int:
        with contextlib.suppress(BlockingIOError):
            return self._write_some(self._descriptor, data)
        # Another process that shares the descriptor has made it non-blocking.
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll()
        return 0
