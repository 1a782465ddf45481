"""A worker whose log cannot be written works like any other."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from easel_worker.protocol import Bye, Hello, Refused, Result
from tests.support.gateway import PATIENCE_S, Gateway, gateway
from tests.support.process import ROOT
from tests.support.samples import generate, is_answer

STDERRS = ("full pipe", "broken pipe", "full device", "closed")


@contextmanager
def broken(kind: str) -> Iterator[int]:
    """A descriptor that accepts no line."""
    if kind == "full device":
        descriptor = os.open("/dev/full", os.O_WRONLY)
        yield descriptor
        os.close(descriptor)
        return
    reader, writer = os.pipe()
    if kind == "full pipe":
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"\n" * 4096)
        except BlockingIOError:
            os.set_blocking(writer, True)
    else:
        os.close(reader)
    yield writer
    os.close(writer)
    if kind == "full pipe":
        os.close(reader)


@contextmanager
def worker(endpoint: str, kind: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker with such a stderr; killed at the end if it still runs."""
    command = [sys.executable, "-m", "easel_worker", "--engine", "fake", "--sizes", "64x48,32x32"]
    command += ["--connect", endpoint, "--name", "w1", "--log-level", "debug"]
    command += ["--exit-with-parent", "--drain-grace", "5", *arguments]
    if kind == "closed":
        command = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    with broken(kind) as stderr:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=stderr)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture(name="listening")
def _listening(tmp_path: Path) -> Iterator[Gateway]:
    with gateway(f"ipc://{tmp_path}/gw") as listening:
        yield listening


def serve(listening: Gateway) -> None:
    """Send requests and an invalid message, and check the answers."""
    listening.welcome()
    asked = generate("a", 666)
    listening.send("w1", asked)
    listening.send_frames("w1", [b"\x7f\x01", b"{}"])
    asked = generate("b", 1)
    listening.send("w1", asked)
    assert is_answer(listening.expect(Result, lambda m: m.id == "b"), asked)


@pytest.mark.parametrize("kind", STDERRS)
def test_it_serves_and_drains_at_sigterm(listening: Gateway, kind: str) -> None:
    with worker(listening.endpoint, kind, "--fake-faults", "raise:666@2") as process:
        serve(listening)
        process.send_signal(signal.SIGTERM)
        listening.expect(Bye)
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("kind", STDERRS)
def test_it_serves_and_ends_when_stdin_closes(listening: Gateway, kind: str) -> None:
    with worker(listening.endpoint, kind, "--fake-faults", "raise:666@2") as process:
        serve(listening)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("kind", STDERRS)
def test_it_exits_with_the_usual_status(listening: Gateway, kind: str) -> None:
    with worker(listening.endpoint, kind) as process:
        listening.expect(Hello)
        listening.send("w1", Refused("model", "another model"))
        assert process.wait(PATIENCE_S) == 3


@pytest.mark.parametrize("kind", STDERRS)
def test_its_watchdog_ends_it(listening: Gateway, kind: str) -> None:
    arguments = ("--step-timeout", "1", "--fake-faults", "hang:13@1")
    with worker(listening.endpoint, kind, *arguments) as process:
        listening.welcome()
        listening.send("w1", generate("a", 13))
        assert process.wait(PATIENCE_S) == 6


@pytest.mark.parametrize("kind", STDERRS)
def test_a_start_that_fails_ends_with_its_status(tmp_path: Path, kind: str) -> None:
    with worker(f"ipc://{tmp_path}/gw", kind, "--fake-faults", "oom:warm") as process:
        assert process.wait(PATIENCE_S) == 4


@pytest.mark.parametrize("kind", STDERRS)
def test_a_signal_ends_it_while_it_starts(tmp_path: Path, kind: str) -> None:
    with worker(f"ipc://{tmp_path}/gw", kind, "--fake-warm-ms", "600000") as process:
        # Its first act that can be seen is to take over the signals.
        status = Path(f"/proc/{process.pid}/status")
        while not _caught(status.read_text(), signal.SIGTERM):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def _caught(status: str, number: int) -> bool:
    """Whether a process's status in /proc says that it has a handler for a signal."""
    (caught,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(int(caught, 16) & 1 << (number - 1))
