"""A file that is there whole or not at all, whatever becomes of the disk or the process."""

import contextlib
import time
from pathlib import Path
from uuid import uuid4

_UNFINISHED = ".unfinished"
ABANDONED_S = 24 * 3600.0
"""After so many seconds nobody goes on writing an unfinished file."""


def write_whole(path: Path, data: bytes) -> None:
    """Put a file in its place, or in that of another one, once all of it is written.

    Raises:
        OSError: it could not be written; what was there before still is, and nothing else.
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
    """Remove what processes left unfinished that ended in the middle.

    Raises:
        OSError: the folder cannot be read, or not be written.
    """
    for path in folder.glob(f"*{_UNFINISHED}"):
        with contextlib.suppress(FileNotFoundError):  # somebody else removed it
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink()
