"""Finds libtpu, which exists only for Linux on x86.

It is not in the worker's environment, because jax would look for a TPU there.
`npm test` fetches it into `.cache/tools`; LIBTPU can name another folder.
"""

import os
import platform
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

if (sys.platform, platform.machine()) != ("linux", "x86_64"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def libtpu() -> str:
    """Return the folder that contains the package."""
    given = os.environ.get("LIBTPU")
    found = [given] if given else [str(path) for path in ROOT.glob(".cache/tools/libtpu-*")]
    if not found:
        pytest.fail("libtpu is missing: run `npm test -- pytest` once, which fetches it")
    return found[-1]
