"""A worker as its own process: `python -m easel_worker --engine fake …`."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.gateway import PATIENCE_S

ROOT = Path(__file__).parents[2]


class Worker:
    """A running worker; its `stdin` stays open until `close_stdin`."""

    def __init__(self, process: "subprocess.Popen[bytes]", log_file: Path) -> None:
        self._process = process
        self._log_file = log_file

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def close_stdin(self) -> None:
        """Close the worker's standard input, as the death of its gateway does."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def exit_status(self, patience_s: float = PATIENCE_S) -> int:
        """Wait for the process to end, and return its status."""
        return self._process.wait(patience_s)

    @property
    def running(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def stderr(self) -> str:
        """Everything written to standard error so far."""
        return self._log_file.read_text()

    def logs(self) -> list[dict[str, Any]]:
        """Return the log lines so far; each must be JSON."""
        return [json.loads(line) for line in self.stderr().splitlines()]

    def wait_for_log(self, text: str) -> dict[str, Any]:
        """Wait for the first log line whose message contains this text, and return it."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for line in self.logs():
                if text in line["msg"]:
                    return line
            time.sleep(0.01)
        raise TimeoutError(f"{text!r} is not in {self.stderr()}")


@contextmanager
def worker(endpoint: str, folder: Path, *arguments: str) -> Iterator[Worker]:
    """Start a worker named w1 with small pictures; kill it at the end if it still runs."""
    log_file = folder / "worker.log"
    command = [sys.executable, "-m", "easel_worker", "--engine", "fake", "--sizes", "64x48,32x32"]
    command += ["--connect", endpoint, "--name", "w1", "--log-level", "debug", *arguments]
    with log_file.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={"PATH": os.environ.get("PATH", "")},
            stdin=subprocess.PIPE,
            stderr=stderr,
        )
    try:
        yield Worker(process, log_file)
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
