"""What a compiled program will need, by its compiler's output. Nothing is measured."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from easel_worker.compile.chips import Chip
from easel_worker.compile.dump import programs_in
from easel_worker.compile.hlo import collectives, read_module
from easel_worker.compile.yardstick import OperationCount, Yardstick, count


@dataclass(frozen=True)
class ProgramCost:
    """A program on one chip, in bytes and seconds. The seconds are counted, not measured.

    Attributes:
        arguments: bytes of weights and inputs.
        outputs: bytes of results.
        temporary: bytes that it needs while it runs.
        code: bytes of instructions.
        collectives: number of communications between chips, by kind. No time is counted for them.
        yardstick: its time; None on a CPU, where only memory is known.
    """

    arguments: int
    outputs: int
    temporary: int
    code: int
    collectives: dict[str, int]
    yardstick: Yardstick | None

    @property
    def peak(self) -> int:
        """Bytes of memory in use while it runs."""
        return self.arguments + self.outputs + self.temporary + self.code

    def as_json(self) -> dict[str, Any]:
        """The bytes, the peak, and the yardstick's sums by kind of operation."""
        sizes = ("arguments", "outputs", "temporary", "code", "peak", "collectives")
        found = {name: getattr(self, name) for name in sizes}
        return found | (yardstick_json(self.yardstick) if self.yardstick else {})


@dataclass(frozen=True)
class Row:
    """The operations of one kind, in seconds.

    Attributes:
        operations: how many run.
        issue: to issue their bundles.
        matrix: of their busiest matrix unit.
        memory: to move their bytes in the chip's memory.
        counted: the sum of the longest of the three.
        issue_bound: the share of `counted` whose operations issuing bounds.
        matrix_bound: the share that the matrix unit bounds.
        memory_bound: the share that memory bounds.
    """

    operations: int = 0
    issue: float = 0.0
    matrix: float = 0.0
    memory: float = 0.0
    counted: float = 0.0
    issue_bound: float = 0.0
    matrix_bound: float = 0.0
    memory_bound: float = 0.0

    def plus(self, each: OperationCount) -> "Row":
        """Add an operation."""
        seconds = each.times * each.seconds
        bound = {name: seconds * (each.bound == name) for name in ("issue", "matrix", "memory")}
        return Row(
            self.operations + each.times,
            self.issue + each.times * each.issue,
            self.matrix + each.times * each.matrix,
            self.memory + each.times * each.memory,
            self.counted + seconds,
            self.issue_bound + bound["issue"],
            self.matrix_bound + bound["matrix"],
            self.memory_bound + bound["memory"],
        )


def rows_of(yardstick: Yardstick) -> dict[str, Row]:
    """The yardstick by kind: each kernel by its name, and XLA's `dot`, `conv` and `other`."""
    rows: dict[str, Row] = {}
    for each in yardstick.operations:
        rows[each.label] = rows.get(each.label, Row()).plus(each)
    return dict(sorted(rows.items()))


def yardstick_json(yardstick: Yardstick) -> dict[str, Any]:
    """Its sums in seconds, and its rows."""
    sums = ("compute", "total", "without_overlap", "waits", "moved", "unscheduled", "unknown_loops")
    rows = {name: asdict(row) for name, row in rows_of(yardstick).items()}
    return {name: getattr(yardstick, name) for name in sums} | {"kinds": rows}


def cost_of(compiled: Any, chip: Chip | None, dump: Path | None) -> ProgramCost:
    """Read a program's cost.

    Args:
        compiled: the result of `lowered.compile()`.
        chip: the chip it was compiled for; None for a CPU.
        dump: the folder that the compiler writes to. The program is the last one there.
    """
    memory = compiled.memory_analysis()
    return ProgramCost(
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes,
        temporary=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        collectives=collectives(read_module(compiled.as_text())) if chip else {},
        yardstick=count(*programs_in(dump)[-1].read(), chip) if chip and dump else None,
    )
