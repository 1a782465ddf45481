"""A cache of compiled programs on a disk that may be full, read-only or damaged.

jax's own cache writes directly into an entry's file. A failed write leaves a truncated file, which
jax neither reads nor replaces: every later start warns and compiles the program again.
"""

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax._src import compilation_cache
from jax._src import config as jax_config
from jax._src.compilation_cache_interface import CacheInterface

from easel_worker.sdxl.serving.whole_file import remove_abandoned, write_whole

_LOG = logging.getLogger(__name__)
_SETTING = "COMPILE_CACHE (--compile-cache)"
_SUFFIX = "-cache"
_UNLIMITED = -1


class ProgramCache(CacheInterface):
    """The cache that jax reads from and writes to. Its methods never raise; it warns once.

    Entries have the same names and contents as in jax's own cache.
    """

    def __init__(self, folder: Path) -> None:
        """Create the folder if it is missing.

        Raises:
            OSError: the folder cannot be created.
        """
        self._path = folder
        self._warned = False
        self._taken: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> bytes | None:
        """An entry's bytes, or None if it is missing or cannot be read."""
        try:
            entry = self._entry(key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(error)
            return None
        self._taken.add(key)
        return entry

    def put(self, key: str, value: bytes) -> None:
        """Write an entry. jax writes a key that it has read only if it could not use the entry."""
        try:
            write_whole(self._entry(key), value)
        except OSError as error:
            self._warn(error)
            return
        if key in self._taken:
            _LOG.warning("%s: a damaged entry of %s is replaced", _SETTING, self._path)

    def _entry(self, key: str) -> Path:
        return self._path / f"{key}{_SUFFIX}"

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warn_of_cache(self._path, error)


def warn_of_cache(folder: Path, error: OSError) -> None:
    """Warn that programs cannot be kept in a folder, and say what to do."""
    _LOG.warning(
        "%s: programs cannot be kept in %s: %s. The worker still serves, but its next start "
        "compiles missing programs again: free space there, or name a writable folder",
        _SETTING,
        folder,
        error.strerror or error,
    )


def keep_programs_in(folder: Path) -> None:
    """Make jax use this cache in this process. Warns and uses none if the folder is unusable.

    If JAX_COMPILATION_CACHE_MAX_SIZE limits the size, jax's own cache is used instead: this one
    never removes entries.
    """
    try:
        cache = ProgramCache(folder)
    except OSError as error:
        warn_of_cache(folder, error)
        return
    with contextlib.suppress(OSError):  # a read-only folder is useful too
        remove_abandoned(folder)
    update: Callable[[str, Any], None] = jax.config.update
    update("jax_compilation_cache_dir", str(folder))
    if jax_config.compilation_cache_max_size.value == _UNLIMITED:
        compilation_cache._cache = cache
        compilation_cache._cache_initialized = True
