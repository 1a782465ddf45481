"""A compiler that reports what each program needs, and can write programs to files."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax.sharding import Sharding

from easel_worker.compile.chips import Chip
from easel_worker.compile.program_cost import ProgramCost, cost_of
from easel_worker.engine import ProgramInfo
from easel_worker.sdxl.model.params import nbytes
from easel_worker.sdxl.serving.artifacts import ArtifactWriter
from easel_worker.sdxl.serving.compilation import Program, finish, trace


@dataclass(frozen=True)
class Counted:
    """A program that was compiled.

    Attributes:
        name: its name in the worker's reports.
        compile_seconds: time to compile it, measured on this machine.
        cost: what it will need.
        beside_weights: bytes of its arguments after the first, which is the weights.
        written: bytes of its artifact; None if it was not written.
    """

    name: str
    compile_seconds: float
    cost: ProgramCost
    beside_weights: int
    written: int | None


class CountingCompiler:
    """Compiles the wanted programs. The others become placeholders that cannot run."""

    def __init__(
        self,
        chip: Chip | None,
        dump: Path | None,
        writer: ArtifactWriter | None,
        wanted: re.Pattern[str],
        report: Callable[[str], None],
    ) -> None:
        """Report programs for a chip.

        Args:
            chip: the chip to compile for; None for a CPU.
            dump: the folder that the compiler writes schedules to, or None.
            writer: writes the programs to files; None to write none.
            wanted: a pattern that the names of wanted programs match.
            report: called with a readable line for each program.
        """
        self._chip = chip
        self._dump = dump
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
        lowered = trace(function, arguments, where).lower()
        compiled = finish(lowered, where)
        seconds = time.perf_counter() - started
        self._report(f"compiled {name} in {seconds:.1f} s")
        self.counted.append(
            Counted(
                name=name,
                compile_seconds=seconds,
                cost=cost_of(compiled, self._chip, self._dump),
                beside_weights=nbytes(arguments[1:]),
                written=self._writer.add(name, lowered, compiled) if self._writer else None,
            )
        )
        return Program(ProgramInfo(name, round(seconds, 3), cached=False), compiled)


def _not_compiled(*_: Any) -> Any:
    raise RuntimeError("this program was not compiled: its name does not match the pattern")
