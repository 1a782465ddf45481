"""These tests need libtpu: it exists for Linux on x86 only, and runs where the lock installs it."""

import platform
import sys
from pathlib import Path

LOCK = Path(__file__).parents[2] / "requirements-test.lock"

on_linux = (sys.platform, platform.machine()) == ("linux", "x86_64")
if not on_linux or "\nlibtpu==" not in LOCK.read_text(encoding="utf-8"):
    collect_ignore_glob = ["test_*.py"]
