"""Programs compiled ahead of time, with what it took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import jax
from jax.sharding import Sharding

from easel_worker.engine import ProgramInfo
from easel_worker.sdxl.serving.program_cache import keep_programs_in

TPU_OPTIONS = (
    # Blocks that are alike share their instructions, which makes the UNet's program much smaller.
    ("xla_tpu_enable_deduplicated_calls", "true"),
)
"""For the TPU's compiler."""

_CACHE_HIT = "/jax/compilation_cache/cache_hits"


@dataclass(frozen=True)
class Program:
    """An executable. Calling it never compiles: other shapes or dtypes are an error."""

    info: ProgramInfo
    run: Callable[..., Any]


class Compiler(Protocol):
    """Makes programs, one way or another."""

    def compile(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], where: Sharding
    ) -> Program:
        """A program for arguments of given shapes.

        Args:
            name: for people.
            function: pure.
            arguments: pytrees of arrays or of `jax.ShapeDtypeStruct`.
            where: the sharding of all arguments and results.
        """
        ...


def trace(function: Callable[..., Any], arguments: tuple[Any, ...], where: Sharding) -> Any:
    """A function as jax sees it, still to be lowered and compiled."""
    # jax caches executables by function identity, and on CPUs an executable that the process has
    # already used elsewhere serializes incompletely. A new object for each call prevents sharing.
    own = partial(function)
    return jax.jit(own, in_shardings=where, out_shardings=where).trace(*arguments)


def finish(lowered: Any, where: Sharding) -> Any:
    """Compile what was lowered for the devices of a sharding, with the options for them."""
    device: jax.Device = next(iter(where.device_set))
    on_tpu = device.platform == "tpu"
    return lowered.compile(compiler_options=dict(TPU_OPTIONS) if on_tpu else None)


class CompileHere:
    """Compiles for the devices of this process, or finds the program in the persistent cache."""

    def __init__(self, report: Callable[[str], None]) -> None:
        """`report` is called with a readable line for each program."""
        self._report = report

    def compile(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], where: Sharding
    ) -> Program:
        """See `Compiler.compile`."""
        started = time.perf_counter()
        with _cache_hits() as hits:
            compiled = finish(trace(function, arguments, where).lower(), where)
        info = ProgramInfo(name, round(time.perf_counter() - started, 3), cached=bool(hits))
        source = " (from the cache)" if info.cached else ""
        self._report(f"compiled {name} in {info.seconds:.1f} s{source}")
        return Program(info, compiled)


def cache_programs_in(folder: Path) -> None:
    """Keep compiled programs on disk, for this process and later ones; a warning if that fails.

    Changes jax's global configuration, so it belongs to the start of a process.
    """
    keep_programs_in(folder)
    # Small programs too: the many of them make up much of the time to start.
    update: Callable[[str, Any], None] = jax.config.update
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
