"""One yardstick for a compiled TPU program: the same count for XLA's fusions and for kernels.

An operation takes the longest of three: the cycles to issue its bundles, the cycles of its busiest
matrix unit, and its bytes outside of vector memory (VMEM) at the memory's bandwidth. Copies that
run beside other operations take the bandwidth that those leave; an operation that needs a copy
waits for the rest of it. Nothing is measured.

Not counted: operands that a kernel reads more than once, and its wait for the first block.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from easel_worker.compile.buffers import HBM, buffers, elements, hbm_bytes
from easel_worker.compile.chips import Chip
from easel_worker.compile.hlo import ENTRY, Kind, Module, Operation, kind_of, turns
from easel_worker.compile.schedule import Schedule
from easel_worker.compile.signatures import Schedules

_FREE = frozenset(
    (
        *("parameter", "get-tuple-element", "bitcast", "tuple", "constant", "after-all"),
        *("partition-id", "replica-id", "opt-barrier", "add-dependency"),
    )
)
_FREE_CALLS = ("ConcatBitcast", "AllocateBuffer", "AssumeGatherIndicesInBound", "SliceDone")
_SLICES = ("slice", "dynamic-slice")
_STARTS_WITHOUT_COPY = ("all-", "reduce-scatter", "collective-permute", "send", "recv")


@dataclass(frozen=True)
class OperationCount:
    """One operation, in seconds for each time that it runs.

    Attributes:
        operation: what the compiler made.
        kind: its main work.
        times: how often it runs: the product of the iterations of its loops.
        issue: to issue its bundles.
        matrix: of its busiest matrix unit.
        memory: to move its bytes in the chip's memory.
        scheduled: whether the compiler wrote its schedule; if not, only its bytes count.
    """

    operation: Operation
    kind: Kind
    times: int
    issue: float
    matrix: float
    memory: float
    scheduled: bool

    @property
    def compute(self) -> float:
        """The time if memory cost nothing."""
        return max(self.issue, self.matrix)

    @property
    def seconds(self) -> float:
        """The longest of the three."""
        return max(self.compute, self.memory)

    @property
    def bound(self) -> str:
        """What it is bound by: `issue`, `matrix` or `memory`."""
        return max(("issue", "matrix", "memory"), key=lambda name: float(getattr(self, name)))

    @property
    def label(self) -> str:
        """The kernel's name, or the kind of XLA's own work."""
        return self.operation.base if self.kind is Kind.KERNEL else self.kind.value


@dataclass(frozen=True)
class Yardstick:
    """A program's count.

    Attributes:
        operations: those that take time.
        waits: seconds of waiting for copies that had not ended.
        moved: bytes moved in the chip's memory, by operations and copies.
        bandwidth: the chip's, in bytes per second.
        unknown_loops: loops in schedules with an unknown number of turns, counted once.
    """

    operations: tuple[OperationCount, ...]
    waits: float
    moved: int
    bandwidth: float
    unknown_loops: int

    @property
    def compute(self) -> float:
        """Seconds if memory cost nothing: the lower end of the range."""
        return sum(each.times * each.compute for each in self.operations)

    @property
    def total(self) -> float:
        """Seconds with all memory that is not hidden: the upper end of the range."""
        return sum(each.times * each.seconds for each in self.operations) + self.waits

    @property
    def without_overlap(self) -> float:
        """Seconds if nothing were moved while something is computed."""
        return self.compute + self.moved / self.bandwidth

    @property
    def unscheduled(self) -> int:
        """Operations without a schedule."""
        return sum(not each.scheduled for each in self.operations)


def count(module: Module, schedules: Mapping[str, Schedule], chip: Chip) -> Yardstick:
    """Count a program.

    Args:
        module: its operations, in the order of the schedule.
        schedules: the schedules that the compiler wrote, by the operation's name. It writes equal
            operations once.
        chip: the chip that it was compiled for.
    """
    schedules_of = Schedules(module, schedules)
    found = _Counter(module, schedules_of, chip).run(ENTRY)
    return Yardstick(
        operations=tuple(found.operations),
        waits=found.waits,
        moved=found.moved,
        bandwidth=chip.bandwidth,
        unknown_loops=found.unknown_loops,
    )


@dataclass
class _Found:
    """What one run of a computation takes."""

    operations: list[OperationCount] = field(default_factory=list)
    waits: float = 0.0
    moved: int = 0
    unknown_loops: int = 0

    @property
    def seconds(self) -> float:
        return sum(each.times * each.seconds for each in self.operations) + self.waits

    def add(self, other: "_Found", times: int) -> None:
        self.operations += [replace(each, times=each.times * times) for each in other.operations]
        self.waits += times * other.waits
        self.moved += times * other.moved
        self.unknown_loops += other.unknown_loops


class _Counter:
    """Runs a computation in the order of its schedule."""

    def __init__(self, module: Module, schedules: Schedules, chip: Chip) -> None:
        self._module = module
        self._schedules = schedules
        self._chip = chip

    def run(self, computation: str) -> _Found:
        found = _Found()
        copies = _Copies(self._chip.bandwidth)
        body = self._module[computation]
        types = {each.name: each.result for each in body}
        for each in body:
            if each.opcode.endswith("-done"):
                found.waits += copies.wait(each.operands)
            elif each.opcode.endswith("-start"):
                if not each.opcode.startswith(_STARTS_WITHOUT_COPY):
                    size = _copied(each)
                    found.moved += size
                    copies.begin(each.name, size)
            elif each.loop is not None:
                found.add(self.run(each.loop[1]), turns(each, self._module))
            elif each.opcode == "call" and each.called is not None:
                found.add(self.run(each.called), 1)
            elif each.branches:
                found.add(max(map(self.run, each.branches), key=lambda one: one.seconds), 1)
            elif not _is_free(each):
                self._count(each, types, found, copies)
        return found

    def _count(
        self, each: Operation, types: Mapping[str, str], found: _Found, copies: "_Copies"
    ) -> None:
        read = sum(hbm_bytes(types[name]) for name in set(each.operands))
        if each.opcode in _SLICES:
            read = min(read, buffers(each.result)[0].size)
        moved = hbm_bytes(each.result) + read
        schedule = self._schedules.of(each)
        counted = OperationCount(
            operation=each,
            kind=kind_of(each, self._module),
            times=1,
            issue=(schedule.issue if schedule else 0) / self._chip.clock,
            matrix=(schedule.matrix if schedule else 0) / self._chip.clock,
            memory=moved / self._chip.bandwidth,
            scheduled=schedule is not None,
        )
        copies.proceed(counted.seconds - counted.memory)
        found.operations.append(counted)
        found.moved += moved
        found.unknown_loops += schedule.unknown_loops if schedule else 0


class _Copies:
    """Copies that run beside operations, one after the other."""

    def __init__(self, bandwidth: float) -> None:
        self._bandwidth = bandwidth
        self._begun: dict[str, float] = {}

    def begin(self, name: str, size: int) -> None:
        self._begun[name] = size / self._bandwidth

    def proceed(self, seconds: float) -> None:
        """Use the time in which an operation leaves the memory free."""
        for name, left in list(self._begun.items()):
            used = min(left, seconds)
            seconds -= used
            self._begun[name] -= used
            if self._begun[name] > 0:
                return
            del self._begun[name]

    def wait(self, names: tuple[str, ...]) -> float:
        """The seconds until these copies, and those that began before them, have ended."""
        waited = 0.0
        while any(name in self._begun for name in names):
            waited += self._begun.pop(next(iter(self._begun)))
        return waited


def _copied(start: Operation) -> int:
    """Bytes that a copy reads and writes in the chip's main memory."""
    first, second, *_ = elements(start.result)
    copied, source = (first, second) if start.opcode == "copy-start" else (second, first)
    places = [buffers(copied)[0].space, buffers(source)[0].space]
    return buffers(copied)[0].size * places.count(HBM)


def _is_free(operation: Operation) -> bool:
    if operation.opcode == "custom-call":
        return any(f'custom_call_target="{name}"' in operation.attributes for name in _FREE_CALLS)
    return operation.opcode in _FREE
