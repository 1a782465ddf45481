"""What a compiled program will need, as its compiler counts it. Nothing here is measured."""

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
class KernelCount:
    """A kernel of ours, all of its calls in a program together, in seconds.

    Attributes:
        calls: how many.
        bound: the least that they can take, by the roofline of the work they declare.
        scheduled: what the compiler's final schedule takes, or None where it was not written.
    """

    name: str
    calls: int
    bound: float
    scheduled: float | None

    @property
    def seconds(self) -> float:
        """The larger of the two: a schedule does not know that the matrix unit may be busy."""
        return max(self.bound, self.scheduled or 0.0)


@dataclass(frozen=True)
class Count:
    """A program on one chip. Bytes and seconds; the seconds are counted, not measured.

    Attributes:
        arguments: bytes of weights and inputs.
        outputs: bytes of results.
        temporary: bytes that it needs while it runs.
        code: bytes of instructions.
        moved: bytes that it reads and writes, as far as the compiler sees, which is not inside of
            kernels, and one turn of a loop.
        seconds: of XLA's own instructions by kind, from estimated cycles.
        kernels: ours, for which the compiler estimates nothing.
        collectives: how many communications between chips there are, by kind.
    """

    arguments: int
    outputs: int
    temporary: int
    code: int
    moved: int
    seconds: dict[str, float]
    kernels: tuple[KernelCount, ...]
    collectives: dict[str, int]

    @property
    def peak(self) -> int:
        """Bytes of the chip's memory while it runs."""
        return self.arguments + self.outputs + self.temporary + self.code

    @property
    def total(self) -> float:
        """All seconds."""
        return sum(self.seconds.values()) + sum(kernel.seconds for kernel in self.kernels)

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self) | {"peak": self.peak, "total": self.total}


def count(compiled: Any, traced: Any, chip: Chip | None, schedules: Path | None) -> Count:
    """Count a program.

    Args:
        compiled: from `lowered.compile()`.
        traced: from `jax.jit(f).trace(...)`, which still knows the kernels' work.
        chip: what it was compiled for; None for a CPU, of which only the memory is known.
        schedules: the folder with the kernels' schedules, or None.
    """
    memory = compiled.memory_analysis()
    costs = compiled.cost_analysis() or {}
    found = instructions(compiled.as_text()) if chip else []
    return Count(
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
    """How often each name is there, all in all."""
    total: Counter[str] = Counter()
    for name, times in names:
        if name is not None:
            total[name] += times
    return total


def _kernels(
    found: list[Instruction], work: dict[str, Work], chip: Chip, schedules: Path | None
) -> tuple[KernelCount, ...]:
    calls = _times((each.base, each.times) for each in found if each.kind is Kind.KERNEL)
    cycles = kernel_cycles(schedules, set(calls)) if schedules else {}
    return tuple(
        KernelCount(
            name=name,
            calls=times,
            bound=times * roofline(chip, *work[name][:2], int8=work[name].int8),
            scheduled=times * cycles[name] / chip.clock if name in cycles else None,
        )
        for name, times in sorted(calls.items())
    )
