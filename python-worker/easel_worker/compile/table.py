"""Tables of the compiled programs."""

from collections import defaultdict
from collections.abc import Sequence

from easel_worker.compile.chips import Chip
from easel_worker.compile.counting_compiler import Counted
from easel_worker.compile.memory import Residents
from easel_worker.compile.program_cost import Row, rows_of
from easel_worker.compile.yardstick import OperationCount, Yardstick
from easel_worker.sdxl.serving.lora_memory import LoraBytes

MIB = 2**20
NOTE = (
    "Milliseconds are counted, not measured: for each operation the longest of issuing its\n"
    "bundles, its matrix unit and its bytes in HBM. They are a range: `from` as if memory cost\n"
    "nothing, `to` with all memory that is not hidden. No TPU has run these programs."
)

_HEADER = (
    *("program", "compile s", "args MiB", "temp MiB", "code MiB", "peak MiB", "% of HBM"),
    *("HBM GB", "from ms", "to ms"),
)


def programs_table(counted: Sequence[Counted], chip: Chip | None) -> str:
    """One line per program."""
    return render([_HEADER, *(_program(each, chip) for each in counted)])


def _program(counted: Counted, chip: Chip | None) -> tuple[str, ...]:
    cost, yardstick = counted.cost, counted.cost.yardstick
    sizes = (cost.arguments, cost.temporary, cost.code, cost.peak)
    return (
        counted.name,
        f"{counted.compile_seconds:.1f}",
        *(f"{size / MIB:.1f}" for size in sizes),
        f"{100 * cost.peak / chip.memory:.1f}" if chip else "-",
        f"{yardstick.moved / 1e9:.2f}" if yardstick else "-",
        *((_ms(yardstick.compute), _ms(yardstick.total)) if yardstick else ("-", "-")),
    )


def yardstick_table(yardstick: Yardstick) -> str:
    """A program by kind of operation, and its sums."""
    header = ("operations", "kind", "issue ms", "matrix ms", "HBM ms", "counted ms")
    bounds = ("issue-bound", "matrix-bound", "memory-bound")
    rows = [_kind(label, row) for label, row in rows_of(yardstick).items()]
    return "\n".join((render([(*header, *bounds), *rows]), *_sums(yardstick)))


def _kind(label: str, row: Row) -> tuple[str, ...]:
    times = (row.issue, row.matrix, row.memory, row.counted)
    bounds = (row.issue_bound, row.matrix_bound, row.memory_bound)
    return (str(row.operations), label, *map(_ms, times), *map(_ms, bounds))


def _sums(yardstick: Yardstick) -> list[str]:
    moved = f"{yardstick.moved / 1e9:.2f} GB = {_ms(yardstick.moved / yardstick.bandwidth)} ms"
    lines = [
        f"as if memory cost nothing: {_ms(yardstick.compute)} ms",
        f"with overlap: {_ms(yardstick.total)} ms, of which waits {_ms(yardstick.waits)}",
        f"without overlap: {_ms(yardstick.without_overlap)} ms, of which HBM {moved}",
    ]
    if yardstick.unscheduled:
        lines.append(f"{yardstick.unscheduled} operations have no schedule: only bytes count")
    if yardstick.unknown_loops:
        lines.append(f"{yardstick.unknown_loops} loops have no constant limit: they count one turn")
    return lines


def operations_table(yardstick: Yardstick, most: int) -> str:
    """A program's longest operations, with equal ones added up."""
    alike: dict[tuple[str, ...], Row] = defaultdict(Row)
    for each in yardstick.operations:
        alike[_alike(each)] = alike[_alike(each)].plus(each)
    longest = sorted(alike.items(), key=lambda item: -item[1].counted)[:most]
    header = ("counted ms", "times", "issue ms", "matrix ms", "HBM ms", "kind", "operation")
    rows = [(*header, "result", "from")]
    for (kind, base, result, scope), row in longest:
        times = (_ms(row.issue), _ms(row.matrix), _ms(row.memory))
        own = (_ms(row.counted), str(row.operations), *times)
        rows.append((*own, kind, base, result[:44], scope[-60:]))
    return render(rows)


def _alike(each: OperationCount) -> tuple[str, ...]:
    operation = each.operation
    scope = "/".join(part.rstrip("0123456789") for part in operation.scope.split("/")[1:])
    return each.kind.value, operation.base, operation.result.partition("{")[0], scope


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


def lora_line(needed: LoraBytes) -> str:
    """What LoRAs need besides."""
    source = f", and {needed.source / MIB:.0f} MiB on it or in the host's memory for all of them"
    return (
        f"with LORAS: {needed.copy / MIB:.0f} MiB more for each set of LORA_SETS whose LoRAs "
        f"change all linear layers{source if needed.source else ''}"
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
