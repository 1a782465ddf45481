"""A folder of files that the operator names and requests choose from, read again when files change.

A name is a file's path in the folder without its ending, such as `styles/ink`. A request's name is
only looked up in the table that a scan made: it never reaches the file system.
"""

import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from easel_worker.engine import READING
from easel_worker.listed_files import named_files
from easel_worker.sdxl.folder.identity import file_digest

T = TypeVar("T")

MAX_FILES = 500


class _Stamp(NamedTuple):
    """Changes when a file's content does."""

    device: int
    inode: int
    size: int
    modified_ns: int


@dataclass(frozen=True)
class Shelved(Generic[T]):
    """A file that can be used.

    Attributes:
        name: what requests call it.
        digest: SHA-256 of the file.
        item: what was read from it.
        file: the file.
        stamp: of the file when it was read.
    """

    name: str
    digest: str
    item: T
    file: Path
    stamp: _Stamp

    def unchanged(self) -> bool:
        """Whether the file is still the one that was read."""
        try:
            return _stamp(self.file) == self.stamp
        except OSError:
            return False


class Shelf(Generic[T]):
    """The usable files of a folder. One thread may scan while others look up."""

    def __init__(
        self,
        folder: Path,
        read: Callable[[Path], T],
        *,
        what: str,
        most_bytes: int,
        report: Callable[[str], None] | None = None,
    ) -> None:
        """Does not read the folder yet.

        Args:
            folder: has the files.
            read: reads a file; raises ValueError with a text that names a file that cannot be used.
            what: what a file is, for log lines, with its article.
            most_bytes: of a file; larger ones are left out.
            report: called with a line for each file that cannot be used, once for each content.
        """
        self._folder = folder
        self._reader = read
        self._what = what
        self._most_bytes = most_bytes
        self._report = report or (lambda _: None)
        self._read: dict[Path, tuple[_Stamp, Shelved[T] | None]] = {}
        self._said: set[str] = set()
        self._table: Mapping[str, Shelved[T]] = {}

    @property
    def folder(self) -> Path:
        """The folder that has the files."""
        return self._folder

    @property
    def table(self) -> Mapping[str, Shelved[T]]:
        """The files by name, in order of their names, as of the last scan."""
        return self._table

    def scan(self) -> bool:
        """Read new and changed files; returns whether the table is another one."""
        found = dict(self._scanned())
        self._read = {path: self._read[path] for path in found.values()}
        usable = {
            name: shelved
            for name, path in sorted(found.items())
            if (shelved := self._read[path][1]) is not None
        }
        changed = usable != self._table
        self._table = usable
        return changed

    def watch(self, seconds: float, changed: Callable[[], None]) -> threading.Event:
        """Scan now and then every few seconds, on a thread of its own.

        Args:
            seconds: the time between two scans.
            changed: called after each scan that found something new.

        Returns:
            Set after the first scan.
        """
        scanned = threading.Event()

        def run() -> None:
            while True:
                try:
                    if self.scan():
                        changed()
                except Exception as error:  # noqa: BLE001 - the folder may do anything
                    self._say(f"{self._folder} cannot be scanned: {error}")
                scanned.set()
                time.sleep(seconds)

        threading.Thread(target=run, name=READING, daemon=True).start()
        return scanned

    def _scanned(self) -> Iterator[tuple[str, Path]]:
        count = 0
        for name, path in named_files(self._folder, self._say).items():
            if count == MAX_FILES:
                self._say(f"{self._folder} has more than {MAX_FILES} files: the rest is left out")
                return
            if self._take(name, path):
                count += 1
                yield name, path

    def _take(self, name: str, path: Path) -> bool:
        """Read a file unless it was read before; returns whether it can be looked at."""
        try:
            now = _stamp(path)
        except OSError as error:
            self._say(f"{path} is left out: {error.strerror or error}")
            return False
        known = self._read.get(path)
        if known is None or known[0] != now:
            self._read[path] = (now, self._shelved(name, path, now))
        return True

    def _shelved(self, name: str, path: Path, stamp: _Stamp) -> Shelved[T] | None:
        try:
            if stamp.size > self._most_bytes:
                raise ValueError(f"{path} has more than {self._most_bytes >> 20} MiB")
            return Shelved(name, file_digest(path), self._reader(path), path, stamp)
        except (ValueError, OSError) as error:
            self._report(f"{self._what} is left out: {error}")
            return None

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._report(line)


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(0, "it is no regular file")
    return _Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
