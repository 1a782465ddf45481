"""The log writer blocks nobody and counts lost lines."""

import errno
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easel_worker.log_writer import LogWriter
from tests.support.process import ROOT

PATIENCE_S = 20.0
SHORT_S = 0.05


def lost_line(count: int) -> bytes:
    return b"lost %d\n" % count


class System:
    """A fake `write` that accepts given numbers of bytes or fails."""

    def __init__(self, outcomes: list[int]) -> None:
        """Args: `outcomes` are accepted bytes, or negative error numbers; later writes succeed."""
        self._outcomes = iter(outcomes)
        self.written = b""

    def write(self, _: int, data: memoryview) -> int:
        """Like os.write."""
        outcome = next(self._outcomes, len(data))
        if outcome < 0:
            raise OSError(-outcome, os.strerror(-outcome))
        self.written += data[:outcome]
        return min(outcome, len(data))


class Pipe:
    """A pipe that a writer fills and a test reads."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._open = {self.reader, self.writer}

    def fill(self) -> int:
        """Fill the pipe; returns how many bytes fitted."""
        os.set_blocking(self.writer, False)
        total = 0
        for size in (4096, 1):
            try:
                while True:
                    total += os.write(self.writer, b"\n" * size)
            except BlockingIOError:
                pass
        os.set_blocking(self.writer, True)
        return total

    def read(self, until: Callable[[bytes], bool]) -> bytes:
        """Read until a condition holds for everything read."""
        data = b""
        while not until(data):
            data += os.read(self.reader, 1 << 16)
        return data

    def close(self, *ends: int) -> None:
        """Close the named ends, or all."""
        for end in ends or tuple(self._open):
            if end in self._open:
                os.close(end)
                self._open.remove(end)


@pytest.fixture(name="pipe")
def _pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_lines_come_in_order(pipe: Pipe) -> None:
    writer = LogWriter(lost_line, pipe.writer)
    for number in range(1000):
        writer.put(b"%d\n" % number)
    assert writer.flush(PATIENCE_S)
    lines = pipe.read(lambda data: data.endswith(b"\n999\n")).split()
    assert lines == [b"%d" % number for number in range(1000)]


def test_a_full_pipe_blocks_nobody_and_lost_lines_are_reported_once(pipe: Pipe) -> None:
    stuffed = pipe.fill()
    writer = LogWriter(lost_line, pipe.writer, queue_bytes=1000)
    for number in range(500):
        writer.put(b"%09d\n" % number)
    assert not writer.flush(SHORT_S)
    text = pipe.read(lambda data: b"lost" in data and data.endswith(b"\n"))[stuffed:]
    *kept, last = text.splitlines()
    assert kept[:100] == [b"%09d" % number for number in range(100)]
    # One line more than the queue holds may be on its way: a later one, if the writer was slow to
    # take the first.
    assert len(kept) in (100, 101)
    assert kept == sorted(kept)
    assert last == b"lost %d" % (500 - len(kept))
    writer.put(b"well again\n")
    assert writer.flush(PATIENCE_S)
    assert os.read(pipe.reader, 1000) == b"well again\n"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EBADF])
def test_lines_that_cannot_be_written_are_counted(error: int) -> None:
    system = System([4, -error, -error, -error])
    writer = LogWriter(lost_line, write=system.write)
    for number in range(4):
        writer.put(b"line %d\n" % number)
        assert writer.flush(PATIENCE_S)
    # Half of a line was there when it failed; of the next two not even the report could be written.
    assert system.written == b"line\nlost 3\nline 3\n"


def test_a_pipe_that_nobody_reads_raises_nothing(pipe: Pipe) -> None:
    pipe.close(pipe.reader)
    writer = LogWriter(lost_line, pipe.writer)
    for _ in range(3):
        writer.put(b"x\n")
        assert writer.flush(PATIENCE_S)


def test_a_full_device_raises_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        writer = LogWriter(lost_line, full.fileno())
        for _ in range(3):
            writer.put(b"x\n")
            assert writer.flush(PATIENCE_S)


def test_a_non_blocking_descriptor_works(pipe: Pipe) -> None:
    stuffed = pipe.fill()
    os.set_blocking(pipe.writer, False)
    writer = LogWriter(lost_line, pipe.writer)
    writer.put(b"late\n")
    assert not writer.flush(SHORT_S)
    assert pipe.read(lambda data: data.endswith(b"late\n"))[stuffed:] == b"late\n"
    assert writer.flush(PATIENCE_S)


@settings(max_examples=100)
@given(
    outcomes=st.lists(st.integers(1, 12) | st.sampled_from([-errno.ENOSPC, -errno.EIO])),
    lengths=st.lists(st.integers(3, 40), max_size=30),
    together=st.booleans(),
)
def test_each_line_is_written_whole_and_in_order_or_counted(
    outcomes: list[int], lengths: list[int], together: bool
) -> None:
    system = System(outcomes)
    writer = LogWriter(lost_line, queue_bytes=200, write=system.write)
    put = [b"%02d" % number + b"x" * (length - 3) + b"\n" for number, length in enumerate(lengths)]
    for line in put:
        writer.put(line)
        assert together or writer.flush(PATIENCE_S)
    assert writer.flush(PATIENCE_S)
    system._outcomes = iter(())
    writer.put(b"a last line\n")
    assert writer.flush(PATIENCE_S)
    lines = system.written.splitlines(keepends=True)
    told = sum(int(line.split()[1]) for line in lines if line in map(lost_line, range(1, 32)))
    whole = [line for line in lines if line in put]
    assert whole == sorted(whole)
    assert len(whole) + told == len(put)
    assert b"a last line\n" in lines


def test_put_is_reentrant(pipe: Pipe) -> None:
    """The garbage collector does this if a finalizer logs a warning."""
    writer = LogWriter(lost_line, pipe.writer)

    class Late:
        def __del__(self) -> None:
            writer.put(b"freed\n")

    class Line(bytes):
        def __len__(self) -> int:
            late = Late()
            late.itself = late  # type: ignore[attr-defined]
            del late
            gc.collect()
            return super().__len__()

    thread = threading.Thread(target=lambda: writer.put(Line(b"put\n")), daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert writer.flush(PATIENCE_S)
    assert set(os.read(pipe.reader, 1000).split()) == {b"freed", b"put"}


def test_without_a_thread_lines_are_counted_as_lost(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    writer = LogWriter(lost_line, pipe.writer)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        writer.put(b"lost\n")
    writer.put(b"there\n")
    assert writer.flush(PATIENCE_S)
    assert os.read(pipe.reader, 1000) == b"there\nlost 1\n"


EXITS = {
    "end": "",
    "error": "raise SystemExit(3)",
    "thread": "threading.Thread(target=log).start()",
}


@pytest.mark.parametrize("how", EXITS)
def test_the_last_lines_are_written_when_the_interpreter_ends(how: str) -> None:
    program = f"""
import threading
from easel_worker.log_writer import LogWriter
writer = LogWriter(lambda count: b"")
def log():
    for number in range(100):
        writer.put(b"%d\\n" % number)
log()
{EXITS[how]}
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, check=False
    )
    times = 2 if how == "thread" else 1
    assert done.stderr.split() == [b"%d" % number for number in range(100)] * times


def test_an_interpreter_exits_with_a_full_pipe_as_its_log(pipe: Pipe) -> None:
    pipe.fill()
    program = """
from easel_worker.log_writer import LogWriter
LogWriter(lambda count: b"").put(b"x\\n")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, stderr=pipe.writer, timeout=60, check=False
    )
    assert done.returncode == 0
