"""Log lines to a file descriptor, from a thread of their own: serving never waits for its logs.

Whoever reads a log may stand still (a full pipe), be gone (a broken one) or have no room (a full
disk). So `put` only queues a line. The thread writes it; a line that finds no room in the queue, or
that cannot be written, is dropped and counted, and once writing works again one line says how many.
A process that is killed, or crashes in native code, may take the lines of its last milliseconds
along; `easel_worker.ending` is for those that end themselves.

What this cannot protect: `faulthandler` and native libraries (XLA's own log) write to the same
descriptor by themselves, since their last words must not depend on a thread of Python's. While
nobody empties a full pipe they wait in there, and so does the end that the faulthandler's timer
announces. `easel_worker.parent` ends such a process with the gateway.
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
"""Bytes of lines that may wait to be written; some 5,000 lines."""
FLUSH_S = 0.5
"""How long an exit waits for the last lines, in seconds."""


class LogWriter:
    """A queue of lines with one writing thread, which begins with the first line.

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
        queue_bytes: how many bytes may wait.
        write: the operating system's; tests pass one that fails when they want.
        """
        self._lost_line = lost_line
        self._descriptor = descriptor
        self._room = queue_bytes
        self._write_some = write
        # Its lock is reentrant: the garbage collector may run inside of `put`, find something that
        # logs a warning, and so call `put` on the same thread.
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._writing = False
        self._lost = 0
        self._failing = False
        self._torn = False
        self._thread: threading.Thread | None = None

    def put(self, line: bytes) -> None:
        """Queue a line, which ends with a newline; never blocks and never raises."""
        with self._changed:
            if len(line) > self._room or not self._running():
                self._lost += 1
                return
            self._room -= len(line)
            self._lines.append(line)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all lines are written or dropped, for at most `timeout_s` seconds.

        Answers whether they are.
        """
        with self._changed:
            return self._changed.wait_for(self._idle, timeout_s)

    def _idle(self) -> bool:
        return not self._lines and not self._writing

    def _running(self) -> bool:
        """Whether there is a thread that writes, after starting one if there is none."""
        if self._thread is not None and self._thread.is_alive():
            return True
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads can be had, or the interpreter ends
            return False
        if self._thread is None:
            # The interpreter stops daemon threads wherever they are.
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
            # After a failure the count comes first: it is the older news, and it shows whether
            # writing works again. After a full queue it comes last, behind what was queued.
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
        """Say how many lines were lost, if any were; answers whether writing works."""
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
        """Write a line; answers whether all of it was."""
        rest = memoryview(b"\n" + line if self._torn else line)
        try:
            while rest:
                rest = rest[self._write_once(rest) :]
                self._torn = bool(rest)
        except OSError:
            self._failing = True
            return bytes(rest) == b"\n"  # which the next line will bring
        self._failing = False
        return True

    def _write_once(self, data: memoryview) -> int:
        with contextlib.suppress(BlockingIOError):
            return self._write_some(self._descriptor, data)
        # Somebody with whom we share the descriptor has made it non-blocking.
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll()
        return 0
