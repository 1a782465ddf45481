"""Compiles functions into programs ahead of their first call, and measures how long that takes."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import jax
from jax.sharding import Sharding

from easel_worker.engine import ProgramInfo
from easel_worker.sdxl.serving.program_cache import keep_programs_in

Options = Iterable[tuple[str, Any]]
"""Names and values of XLA's options."""

TPU_OPTIONS = (
    # Identical blocks share their instructions, which makes the UNet's program much smaller.
    ("xla_tpu_enable_deduplicated_calls", "true"),
)
"""Options for the TPU's compiler."""

_CACHE_HIT = "/jax/compilation_cache/cache_hits"


@dataclass(frozen=True)
class Program:
    """An executable. Calling it never compiles: arguments of other shapes or dtypes raise."""

    info: ProgramInfo
    run: Callable[..., Any]


class Compiler(Protocol):
    """Makes a program of a function: by compiling it, or by loading what was compiled before."""

    def compile(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], where: Sharding
    ) -> Program:
        """Make a program for arguments of given shapes.

        Args:
            name: what logs and `HELLO` call the program.
            function: a pure function.
            arguments: pytrees of arrays or of `jax.ShapeDtypeStruct`.
            where: the sharding of all arguments and results.
        """
        ...


def trace(function: Callable[..., Any], arguments: tuple[Any, ...], where: Sharding) -> Any:
    """Trace a function; the caller lowers and compiles the result."""
    # jax caches executables by function identity, and on CPUs an executable that the process has
    # already used elsewhere serializes incompletely. A new object for each call prevents sharing.
    own = partial(function)
    return jax.jit(own, in_shardings=where, out_shardings=where).trace(*arguments)


def finish(lowered: Any, where: Sharding, options: Options = ()) -> Any:
    """Compile a lowered function for a sharding's devices, with the options for that platform.

    Args:
        lowered: the function.
        where: the sharding of its arguments.
        options: further options for XLA.
    """
    device: jax.Device = next(iter(where.device_set))
    given = dict(TPU_OPTIONS if device.platform == "tpu" else ()) | dict(options)
    return lowered.compile(compiler_options=given or None)


class CompileHere:
    """Compiles for the devices of this process, or loads the program from the persistent cache."""

    def __init__(self, report: Callable[[str], None], options: Options = ()) -> None:
        """Args:

        report: called with one readable line for each program.
        options: for XLA, besides those that the platform needs.
        """
        self._report = report
        self._options = dict(options).items()

    def compile(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], where: Sharding
    ) -> Program:
        """See `Compiler.compile`."""
        started = time.perf_counter()
        with _cache_hits() as hits:
            compiled = finish(trace(function, arguments, where).lower(), where, self._options)
        info = ProgramInfo(name, round(time.perf_counter() - started, 3), cached=bool(hits))
        source = " (from the cache)" if info.cached else ""
        self._report(f"compiled {name} in {info.seconds:.1f} s{source}")
        return Program(info, compiled)


def cache_programs_in(folder: Path) -> None:
    """Keep compiled programs on disk for later processes. Logs a warning if that fails.

    Changes jax's global configuration, so call it at the start of a process.
    """
    keep_programs_in(folder)
    # By default jax keeps no small programs, but together they take much of the time to start.
    update: Callable[[str, Any], None] = jax.config.update
    update("jax_persistent_cache_min_compile_time_secs", 0.0)


@contextmanager
def _cache_hits() -> Iterator[list[str]]:
    """Collect an event for each program found in the persistent cache while the context is open."""
    hits: list[str] = []

    def listen(event: str, **_: Any) -> None:
        if event == _CACHE_HIT:
            hits.append(event)

    jax.monitoring.register_event_listener(listen)
    try:
        yield hits
    finally:
        jax.monitoring.unregister_event_listener(listen)
