"""Limits on the time and memory of full-width pieces on a v5e, as its compiler counts them.

The limits are a few percent above the counts in the log (bench/tpu/README.md). A change that makes
a piece much cheaper should lower its limit.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).parents[2]

CEILINGS = {
    # ms, MiB
    "transformer_block": (0.78, 20.0),
    "int8_block": (0.475, 13.0),
    "int8_residual_block": (0.36, 2.0),
    "top_block": (0.84, 50.0),
    "vae_block": (0.87, 20.0),
}
FAR_BELOW = 0.8

Counted = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def counted(libtpu: str) -> Counted:
    """Return the counts of `pieces`, which libtpu requires to be a process of its own."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.tpu.pieces"],
        cwd=WORKER,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": libtpu},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: Counted = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("piece", CEILINGS)
def test_a_piece_stays_under_its_ceiling(counted: Counted, piece: str) -> None:
    ms, mib = CEILINGS[piece]
    assert FAR_BELOW * ms < counted[piece]["ms"] <= ms
    assert counted[piece]["temporary_mib"] <= mib


@pytest.mark.parametrize(
    ("piece", "kernels"),
    [
        ("transformer_block", 2),
        ("int8_block", 4),
        ("int8_residual_block", 2),
        ("top_block", 2),
        ("vae_block", 2),
    ],
)
def test_our_kernels_are_used_and_everything_has_a_schedule(
    counted: Counted, piece: str, kernels: int
) -> None:
    assert counted[piece]["kernels"] == kernels
    assert counted[piece]["unscheduled"] == 0
    assert counted[piece]["unknown_loops"] == 0
