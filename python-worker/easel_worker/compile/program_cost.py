"""What a compiled program will need, by its compiler's estimates. Nothing is measured."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from easel_worker.compile.chips import Chip, roofline
from easel_worker.compile.hlo import Instruction, Kind, instructions
from easel_worker.compile.kernel_work import Work, kernel_work
from easel_worker.compile.schedule import kernel_cycles


@dataclass(frozen=True)
class KernelCost:
    """All calls of one of our kernels in a program, in seconds.

    Attributes:
        calls: number of calls.
        bound: their minimum time, by the roofline of their cost estimate.
        scheduled: their time by the compiler's final schedule; None if it was not written.
    """

    name: str
    calls: int
    bound: float
    scheduled: float | None

    @property
    def seconds(self) -> float:
        """The larger figure: a schedule leaves out waiting for the matrix unit."""
        return max(self.bound, self.scheduled or 0.0)


@dataclass(frozen=True)
class ProgramCost:
    """A program on one chip, in bytes and seconds. The seconds are estimated, not measured.

    Attributes:
        arguments: bytes of weights and inputs.
        outputs: bytes of results.
        temporary: bytes that it needs while it runs.
        code: bytes of instructions.
        moved: bytes read and written by the compiler's estimate, which leaves out kernels and
            counts a loop's body once.
        seconds: seconds of XLA's own instructions by kind, from estimated cycles.
        kernels: our kernels, which the compiler gives no estimate for.
        collectives: number of communications between chips, by kind.
    """

    arguments: int
    outputs: int
    temporary: int
    code: int
    moved: int
    seconds: dict[str, float]
    kernels: tuple[KernelCost, ...]
    collectives: dict[str, int]

    @property
    def peak(self) -> int:
        """Bytes of memory in use while it runs."""
        return self.arguments + self.outputs + self.temporary + self.code

    @property
    def total(self) -> float:
        """The sum of all seconds."""
        return sum(self.seconds.values()) + sum(kernel.seconds for kernel in self.kernels)

    def as_json(self) -> dict[str, Any]:
        """All fields, the peak and the total."""
        return asdict(self) | {"peak": self.peak, "total": self.total}


def cost_of(compiled: Any, traced: Any, chip: Chip | None, schedules: Path | None) -> ProgramCost:
    """Read a program's cost.

    Args:
        compiled: the result of `lowered.compile()`.
        traced: the result of `jax.jit(f).trace(...)`, which has the kernels' cost estimates.
        chip: the chip it was compiled for; None for a CPU, where only memory is known.
        schedules: the folder of the kernels' schedules, or None.
    """
    memory = compiled.memory_analysis()
    costs = compiled.cost_analysis() or {}
    found = instructions(compiled.as_text()) if chip else []
    return ProgramCost(
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes,
        temporary=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        moved=int(costs.get("bytes accessed", 0)),
        seconds=_seconds(found, chip) if chip else {},
        kernels=_kernels(found, kernel_work(traced.jaxpr), chip, schedules) if chip else (),
        collectives=dict(_times((each.collective, each.times) for each in found)),
    )


def _seconds(found: list[Instruction], chip: Chip) -> dict[str, float]:
    seconds = {kind.value: 0.0 for kind in Kind if kind is not Kind.KERNEL}
    for each in found:
        if each.cycles is not None and each.kind is not Kind.KERNEL:
            seconds[each.kind.value] += each.times * each.cycles / chip.clock
    return seconds


def _times(names: Iterable[tuple[str | None, int]]) -> Counter[str]:
    """The total for each name."""
    total: Counter[str] = Counter()
    for name, times in names:
        if name is not None:
            total[name] += times
    return total


def _kernels(
    found: list[Instruction], work: dict[str, Work], chip: Chip, schedules: Path | None
) -> tuple[KernelCost, ...]:
    calls = _times((each.base, each.times) for each in found if each.kind is Kind.KERNEL)
    cycles = kernel_cycles(schedules, set(calls)) if schedules else {}
    return tuple(
        KernelCost(
            name=name,
            calls=times,
            bound=times * roofline(chip, *work[name][:2], int8=work[name].int8),
            scheduled=times * cycles[name] / chip.clock if name in cycles else None,
        )
        for name, times in sorted(calls.items())
    )
