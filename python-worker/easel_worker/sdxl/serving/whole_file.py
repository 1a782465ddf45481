"""Writes files atomically: after a full disk or a crash a file is complete or absent."""

import contextlib
import time
from pathlib import Path
from uuid import uuid4

_UNFINISHED = ".unfinished"
ABANDONED_S = 24 * 3600.0
"""An unfinished file of this age in seconds has no writer any more."""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its path and rename it, which replaces any file that was there.

    Raises:
        OSError: the file could not be written; the path is unchanged and no other file is left.
    """
    unfinished = path.with_name(f"{uuid4().hex}{_UNFINISHED}")
    try:
        with unfinished.open("xb") as file:
            file.write(data)
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def remove_abandoned(folder: Path) -> None:
    """Remove unfinished files that ended processes left behind.

    Raises:
        OSError: the folder cannot be read or written.
    """
    for path in folder.glob(f"*{_UNFINISHED}"):
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink()
