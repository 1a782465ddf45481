"""A compiler that counts what it makes, and may write it down."""

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Sharding

from easel_worker.compile.chips import Chip
from easel_worker.compile.hlo import Instruction, instructions
from easel_worker.compile.program_count import Count, count
from easel_worker.engine import ProgramInfo
from easel_worker.sdxl.serving.artifacts import ArtifactWriter
from easel_worker.sdxl.serving.compilation import Program, finish, trace


def size(tree: Any) -> int:
    """Bytes of all arrays of a tree."""
    return sum(math.prod(a.shape) * a.dtype.itemsize for a in jax.tree.leaves(tree))


@dataclass(frozen=True)
class Counted:
    """A program that was compiled.

    Attributes:
        name: as the worker reports it.
        compile_seconds: measured, on this machine.
        count: what it will need.
        beside_weights: bytes of what it takes besides its first argument, the weights.
        written: bytes of its artifact, or None if it was not written.
        instructions: the longest ones, for the table that says where the time goes.
    """

    name: str
    compile_seconds: float
    count: Count
    beside_weights: int
    written: int | None
    instructions: tuple[Instruction, ...]


class CountingCompiler:
    """Compiles those programs that are wanted; the others keep their place and are not run."""

    def __init__(
        self,
        chip: Chip | None,
        schedules: Path | None,
        writer: ArtifactWriter | None,
        wanted: re.Pattern[str],
        report: Callable[[str], None],
    ) -> None:
        """Count for a chip.

        Args:
            chip: what it compiles for, or None for a CPU.
            schedules: where the kernels' schedules are written, or None.
            writer: where programs go, or None.
            wanted: names of programs to compile.
            report: called with a readable line for each program.
        """
        self._chip = chip
        self._schedules = schedules
        self._writer = writer
        self._wanted = wanted
        self._report = report
        self.counted: list[Counted] = []

    def compile(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], where: Sharding
    ) -> Program:
        """See `Compiler.compile`."""
        if not self._wanted.search(name):
            return Program(ProgramInfo(name, 0.0, cached=False), _not_compiled)
        started = time.perf_counter()
        traced = trace(function, arguments, where)
        lowered = traced.lower()
        compiled = finish(lowered, where)
        seconds = time.perf_counter() - started
        self._report(f"compiled {name} in {seconds:.1f} s")
        self.counted.append(
            Counted(
                name=name,
                compile_seconds=seconds,
                count=count(compiled, traced, self._chip, self._schedules),
                beside_weights=size(arguments[1:]),
                written=self._writer.add(name, lowered, compiled) if self._writer else None,
                instructions=tuple(instructions(compiled.as_text())) if self._chip else (),
            )
        )
        return Program(ProgramInfo(name, round(seconds, 3), cached=False), compiled)


def _not_compiled(*_: Any) -> Any:
    raise RuntimeError("this program was not compiled")
