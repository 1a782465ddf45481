"""Tables of the compiled programs."""

from collections import defaultdict
from collections.abc import Sequence

from easel_worker.compile.chips import Chip
from easel_worker.compile.counting_compiler import Counted
from easel_worker.compile.hlo import Instruction, Kind
from easel_worker.compile.memory import Residents

MIB = 2**20
NOTE = (
    "Milliseconds are estimated, not measured: the compiler's cycles for XLA's own instructions,\n"
    "and for our kernels the longer of their roofline and their final schedule. They compare\n"
    "programs with each other and do not predict times. No TPU has run these programs."
)

_HEADER = (
    *("program", "compile s", "args MiB", "temp MiB", "code MiB", "peak MiB", "% of HBM"),
    *("moved GB", "dot", "conv", "other", "kernels", "ms"),
)


def programs_table(counted: Sequence[Counted], chip: Chip | None) -> str:
    """One line per program."""
    return render([_HEADER, *(_program(each, chip) for each in counted)])


def _program(counted: Counted, chip: Chip | None) -> tuple[str, ...]:
    cost = counted.cost
    share = f"{100 * cost.peak / chip.memory:.1f}" if chip else "-"
    kernels = sum(kernel.seconds for kernel in cost.kernels)
    kinds = [cost.seconds.get(kind.value, 0.0) for kind in (Kind.DOT, Kind.CONV, Kind.OTHER)]
    times = [_ms(seconds) if chip else "-" for seconds in (*kinds, kernels, cost.total)]
    sizes = (cost.arguments, cost.temporary, cost.code, cost.peak)
    return (
        counted.name,
        f"{counted.compile_seconds:.1f}",
        *(f"{size / MIB:.1f}" for size in sizes),
        share,
        f"{cost.moved / 1e9:.2f}",
        *times,
    )


def kernels_table(counted: Sequence[Counted]) -> str:
    """Our kernels: their calls, roofline and schedule."""
    rows = [("program", "kernel", "calls", "roofline ms", "scheduled ms", "counted ms")]
    for each in counted:
        for kernel in each.cost.kernels:
            scheduled = "-" if kernel.scheduled is None else _ms(kernel.scheduled)
            times = (_ms(kernel.bound), scheduled, _ms(kernel.seconds))
            rows.append((each.name, kernel.name, str(kernel.calls), *times))
    return render(rows) if len(rows) > 1 else "no kernels"


def instructions_table(counted: Counted, chip: Chip, most: int) -> str:
    """A program's longest instructions, with equal ones added up."""
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for each in counted.instructions:
        if each.cycles is not None and each.kind is not Kind.KERNEL:
            alike[_alike(each)] += [each.cycles] * each.times
    longest = sorted(alike.items(), key=lambda item: -sum(item[1]))[:most]
    rows = [("ms", "times", "kind", "instruction", "result", "from")]
    for (kind, base, result, scope), cycles in longest:
        ms = _ms(sum(cycles) / chip.clock)
        rows.append((ms, str(len(cycles)), kind, base, result[:44], scope[-60:]))
    return render(rows)


def _alike(each: Instruction) -> tuple[str, ...]:
    scope = "/".join(part.rstrip("0123456789") for part in each.scope.split("/")[1:])
    return each.kind.value, each.base, each.result.partition("{")[0], scope


def memory_lines(residents: Residents, chip: Chip, images: int) -> str:
    """Whether the model and `images` images fit into the chip's memory."""
    total = residents.total(images)
    verdict = "fits" if total <= chip.memory else "DOES NOT FIT"
    return (
        f"{images} guided images in flight and one running program on a {chip.name}: "
        f"weights {residents.weights / MIB:.0f} + programs {residents.code / MIB:.0f} + images "
        f"{images} × {residents.image / MIB:.0f} + working {residents.working / MIB:.0f} = "
        f"{total / MIB:.0f} MiB of {chip.memory / MIB:.0f}: {verdict}"
    )


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3f}"


def render(rows: Sequence[Sequence[str]]) -> str:
    """Align columns: the first row and numbers to the right, other cells to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if _is_number(cell) or number == 0 else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for number, row in enumerate(rows)
    )


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).isdigit() or cell == "-"
