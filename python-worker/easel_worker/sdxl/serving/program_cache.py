"""The folder of compiled programs, for a disk that may be full, read-only or damaged.

jax's own cache writes into the entry itself. A write that fails leaves a piece of it behind, which
jax then neither reads nor replaces: every later start warns of it and compiles the program again.
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
    """What jax asks for a program, and gives one to keep. Never raises; warns once of a failure.

    The entries have jax's own names and contents.
    """

    def __init__(self, folder: Path) -> None:
        """Of a folder, which is made.

        Raises:
            OSError: it cannot be.
        """
        self._path = folder
        self._warned = False
        self._taken: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> bytes | None:
        """An entry, or None if there is none that can be read."""
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
        """Keep an entry. jax gives one that it has taken before only if it could not use it."""
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
    """Say that programs are not kept in a folder, and what to do."""
    _LOG.warning(
        "%s: programs are not kept in %s: %s. The worker serves without, and its next start "
        "compiles what is missing again: make room there, or name a folder that can be written",
        _SETTING,
        folder,
        error.strerror or error,
    )


def keep_programs_in(folder: Path) -> None:
    """Have jax use this cache, for this process; none if there can be no such folder.

    With a limit of size, as JAX_COMPILATION_CACHE_MAX_SIZE sets it, jax's own cache is used: only
    that one removes entries.
    """
    try:
        cache = ProgramCache(folder)
    except OSError as error:
        warn_of_cache(folder, error)
        return
    with contextlib.suppress(OSError):  # a folder that can only be read serves, too
        remove_abandoned(folder)
    update: Callable[[str, Any], None] = jax.config.update
    update("jax_compilation_cache_dir", str(folder))
    if jax_config.compilation_cache_max_size.value == _UNLIMITED:
        compilation_cache._cache = cache
        compilation_cache._cache_initialized = True
