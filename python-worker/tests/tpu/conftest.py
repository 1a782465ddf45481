"""These tests need libtpu, which exists for Linux on x86 only.

It is kept out of the environment that runs the worker: jax would look for a TPU with it.
`npm test` fetches it into `.cache/tools`; LIBTPU names another folder that holds it.
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
    """The folder that holds the package."""
    given = os.environ.get("LIBTPU")
    found = [given] if given else [str(path) for path in ROOT.glob(".cache/tools/libtpu-*")]
    if not found:
        pytest.fail("libtpu is missing: run `npm test -- pytest` once, which fetches it")
    return found[-1]
