"""Files are written completely or not at all."""

import os
import time
from pathlib import Path

import pytest

from easel_worker.sdxl.serving.whole_file import ABANDONED_S, remove_abandoned, write_whole
from tests.support.disk import full_disk


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "it"
    for content in (b"old", b"new" * 1000):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_full_disk_leaves_the_old_file_unchanged(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "it"
    if before is not None:
        path.write_bytes(before)
    with full_disk(), pytest.raises(OSError, match="too large"):
        write_whole(path, b"new" * 1000)
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [before] * (before is not None)


def test_old_unfinished_files_are_removed(tmp_path: Path) -> None:
    for name in ("old.unfinished", "new.unfinished", "old-cache"):
        (tmp_path / name).touch()
    long_ago = time.time() - ABANDONED_S - 60
    for name in ("old.unfinished", "old-cache"):
        os.utime(tmp_path / name, (long_ago, long_ago))
    remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"new.unfinished", "old-cache"}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
