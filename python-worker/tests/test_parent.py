"""A worker ends with the gateway that started it (test/workers/orphans.test.ts: a real one)."""

import os
import signal
import subprocess
import sys

import pytest

from tests.support.process import ROOT

PATIENCE_S = 20.0

# Its standard output is a pipe that stays open while it lives. Its standard input stays open on, so
# that only the kernel can tell it of its parent's death.
CHILD = """
import os, signal, time
from easel_worker.parent import {act}
{act}()
print("ready", flush=True)
{stop}
time.sleep(600)
"""
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
time.sleep(600)
"""
STOP = "os.kill(os.getpid(), signal.SIGSTOP)"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have only standard input")
@pytest.mark.parametrize("stop", ["", STOP], ids=["running", "stopped"])
@pytest.mark.parametrize("act", ["die_with_parent", "exit_with_parent"])
def test_the_kernel_kills_a_worker_whose_parent_has_died(stop: str, act: str) -> None:
    stdin, ours = os.pipe()
    command = [sys.executable, "-c", PARENT, CHILD.format(stop=stop, act=act)]
    parent = subprocess.Popen(command, cwd=ROOT, stdin=stdin, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    parent.kill()
    # The child's end closes the pipe's last end.
    rest, _ = parent.communicate(timeout=PATIENCE_S)
    assert (rest, parent.returncode) == (b"", -signal.SIGKILL)
    os.close(stdin)
    os.close(ours)


def test_a_worker_whose_parent_died_before_the_call_exits() -> None:
    program = """
import os
from easel_worker.parent import die_with_parent
parents = iter([4711, 1])
die_with_parent(parent=lambda: next(parents), leave=lambda status: print("left", status))
die_with_parent(leave=lambda status: print("left", status))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["left 0"]
