"""Programs compiled ahead of time, with what it took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Sharding

from easel_worker.engine import ProgramInfo

_CACHE_HIT = "/jax/compilation_cache/cache_hits"


@dataclass(frozen=True)
class Program:
    """An executable. Calling it never compiles: other shapes or dtypes are an error."""

    info: ProgramInfo
    run: Callable[..., Any]


def compile_ahead(
    name: str, function: Callable[..., Any], arguments: tuple[Any, ...], where: Sharding
) -> Program:
    """Compile a function for arguments of given shapes.

    Args:
        name: for people.
        function: pure.
        arguments: pytrees of arrays or of `jax.ShapeDtypeStruct`.
        where: the sharding of all arguments and results.
    """
    started = time.perf_counter()
    with _cache_hits() as hits:
        jitted = jax.jit(function, in_shardings=where, out_shardings=where)
        compiled = jitted.lower(*arguments).compile()
    seconds = time.perf_counter() - started
    return Program(ProgramInfo(name, round(seconds, 3), cached=bool(hits)), compiled)


def cache_programs_in(folder: Path) -> None:
    """Keep compiled programs on disk, for this process and later ones.

    Changes jax's global configuration, so it belongs to the start of a process.
    """
    update: Callable[[str, Any], None] = jax.config.update
    update("jax_compilation_cache_dir", str(folder))
    # Small programs too: the many of them make up much of the time to start.
    update("jax_persistent_cache_min_compile_time_secs", 0.0)


@contextmanager
def _cache_hits() -> Iterator[list[str]]:
    """The events of programs found in the persistent cache, while the context is open."""
    hits: list[str] = []

    def listen(event: str, **_: Any) -> None:
        if event == _CACHE_HIT:
            hits.append(event)

    jax.monitoring.register_event_listener(listen)
    try:
        yield hits
    finally:
        jax.monitoring.unregister_event_listener(listen)
