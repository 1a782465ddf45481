"""Counting a program by the yardstick."""

from pathlib import Path

import pytest

from easel_worker.compile import command, table
from easel_worker.compile.chips import CHIPS, Chip, chip_of
from easel_worker.compile.dump import programs_in
from easel_worker.compile.hlo import read_module
from easel_worker.compile.program_cost import rows_of
from easel_worker.compile.schedule import Schedule
from easel_worker.compile.yardstick import Yardstick, count
from tests.compile.schedules import schedule

CHIP = Chip("v0", bandwidth=1.0, memory=1, clock=1.0)
"""A cycle and a byte take a second each."""

HBM = "s8[100]{0}"
VMEM = "s8[100]{0:S(1)}"


def counted(body: str, schedules: dict[str, tuple[int, int]], before: str = "") -> Yardstick:
    text = f"{before}\nENTRY %main (x: s8[100]) -> s8[100] {{\n{body}\n}}\n"
    made = {name: Schedule(1, *cycles, 0) for name, cycles in schedules.items()}
    return count(read_module(text), made, CHIP)


def test_an_operation_takes_the_longest_of_three() -> None:
    body = f"""  %x = {HBM} parameter(0)
  %a = {HBM} negate(%x)
  %b = {VMEM} negate(%x)
  %c = {VMEM} negate(%b)
  ROOT %d = {HBM} add(%b, %b)"""
    found = counted(body, {"a": (150, 90), "b": (20, 300), "c": (7, 3), "d": (70, 1)})
    assert [each.seconds for each in found.operations] == [200, 300, 7, 100]
    assert [each.bound for each in found.operations] == ["memory", "matrix", "issue", "memory"]
    assert found.total == 607
    assert found.compute == 150 + 300 + 7 + 70
    assert found.moved == 200 + 100 + 0 + 100
    assert found.without_overlap == found.compute + found.moved
    [row] = rows_of(found).values()
    assert (row.operations, row.counted) == (4, 607)
    assert (row.issue_bound, row.matrix_bound, row.memory_bound) == (7, 300, 300)


def test_a_slice_reads_only_what_it_takes() -> None:
    body = f"""  %x = {HBM} parameter(0)
  %i = s32[]{{:S(6)}} parameter(1)
  %a = s8[30]{{0:S(1)}} slice(%x), slice={{[0:30]}}
  %b = s8[40]{{0}} dynamic-slice(%x, %i), dynamic_slice_sizes={{40}}
  %c = {VMEM} negate(%x)
  %d = s8[30]{{0}} slice(%c), slice={{[0:30]}}
  ROOT %e = s8[30]{{0:S(1)}} negate(%d)"""
    names = ("a", "b", "c", "d", "e")
    found = counted(body, dict.fromkeys(names, (1, 0)))
    assert [each.memory for each in found.operations] == [30, 80, 100, 30, 30]


COPY = f"""  %x = {HBM} parameter(0)
  %copy-start.1 = ({VMEM}, {HBM}, u32[]{{:S(2)}}) copy-start(%x)
  %a = {VMEM} iota()
  %copy-done.1 = {VMEM} copy-done(%copy-start.1)
  ROOT %b = {VMEM} add(%copy-done.1, %a)"""


@pytest.mark.parametrize(("beside", "waits"), [(30, 70), (100, 0), (250, 0)])
def test_waits_for_the_rest_of_a_copy(beside: int, waits: int) -> None:
    found = counted(COPY, {"a": (beside, 0), "b": (5, 0)})
    assert found.waits == waits
    assert found.total == beside + waits + 5
    assert found.moved == 100


def test_a_copy_has_only_the_bandwidth_that_operations_leave() -> None:
    body = COPY.replace(f"%a = {VMEM} iota()", f"%a = {VMEM} negate(%x)")
    assert counted(body, {"a": (130, 0), "b": (5, 0)}).waits == 70


def test_copies_run_one_after_the_other() -> None:
    body = f"""  %x = {HBM} parameter(0)
  %slice-start.1 = (({HBM}), s8[40]{{0:S(1)}}, s32[]{{:S(2)}}) slice-start(%x), slice={{[0:40]}}
  %copy-start.2 = ({HBM}, {HBM}, u32[]{{:S(2)}}) copy-start(%x)
  %a = {VMEM} iota()
  %copy-done.2 = {HBM} copy-done(%copy-start.2)
  %slice-done.1 = s8[40]{{0:S(1)}} slice-done(%slice-start.1)
  ROOT %b = {VMEM} custom-call(%slice-done.1), custom_call_target="ConcatBitcast\""""
    found = counted(body, {"a": (90, 0)})
    assert found.moved == 40 + 200
    assert found.waits == 240 - 90
    assert len(found.operations) == 1


LOOP = f"""%body.1 (p: s8[100]) -> s8[100] {{
  %p = {HBM} parameter(0)
{COPY.replace("%x", "%p").replace(f"  %p = {HBM} parameter(0)", "").strip(chr(10))}
}}

%condition.1 (q: s8[100]) -> pred[] {{
  %q = {HBM} parameter(0)
  %limit.1 = s32[] constant(3)
  ROOT %less.1 = pred[] compare(%q, %limit.1), direction=LT
}}

%other.1 (r: s8[100]) -> s8[100] {{
  %r = {HBM} parameter(0)
  ROOT %c = {VMEM} negate(%r)
}}
"""


def test_counts_loops_and_the_longer_branch() -> None:
    body = f"""  %x = {HBM} parameter(0)
  %loop.1 = {VMEM} while(%x), condition=%condition.1, body=%body.1
  ROOT %or = {VMEM} conditional(%x, %x, %x), branch_computations={{%other.1, %body.1}}"""
    found = counted(body, {"a": (30, 0), "b": (5, 0), "c": (104, 0)}, LOOP)
    assert found.total == 3 * 105 + 105
    assert found.waits == 4 * 70
    assert sum(each.times for each in found.operations) == 4 * 2


def test_equal_operations_have_one_schedule() -> None:
    def fused(number: int, what: str) -> str:
        return (
            f"%fused.{number} (p: s8[100]) -> s8[100] {{\n  %p.{number} = {HBM} parameter(0)\n"
            f"  ROOT %n.{number} = {HBM} {what}(%p.{number})\n}}\n"
        )

    body = f"""  %x = {HBM} parameter(0)
  %f.1 = {VMEM} fusion(%x), calls=%fused.1, metadata={{op_name="a" stack_frame_id=1}}
  %f.2 = {VMEM} fusion(%x), calls=%fused.2, metadata={{op_name="b{{" stack_frame_id=2}}
  %f.3 = {VMEM} fusion(%x), calls=%fused.3
  %f.4 = {VMEM} fusion(%x), calls=%fused.4
  ROOT %f.5 = {HBM} fusion(%f.4), calls=%fused.4"""
    functions = "".join(map(fused, range(1, 5), ("sign", "sign", "abs", "negate")))
    found = counted(body, {"f.1": (1000, 0), "f.3": (2000, 0)}, functions)
    assert [each.seconds for each in found.operations] == [1000, 1000, 2000, 1000, 100]
    assert found.unscheduled == 1
    assert "1 operations have no schedule" in table.yardstick_table(found)


def write(folder: Path, time: int, module: str, schedules: dict[str, str]) -> None:
    (folder / f"{time}-TLP-hlo.txt").write_text(module)
    (folder / f"{time}-TLP-01-final_bundles.txt").write_text(schedule([9]))
    for later, (name, text) in enumerate(schedules.items(), 1):
        (folder / f"{time + later}-{name}-01-final_bundles.txt").write_text(text)
        analysis = folder / f"{time + later}-{name}-00-schedule-analysis_final_bundles.txt"
        analysis.write_text("Schedule analysis")


def program(name: str) -> str:
    return (
        f"HloModule {name}, is_scheduled=true\n\nENTRY %main (x: s8[100]) -> s8[100] {{\n"
        f"  %x = {VMEM} parameter(0)\n  ROOT %a.1 = {VMEM} negate(%x)\n}}\n"
    )


def test_a_folders_programs_have_their_own_schedules(tmp_path: Path) -> None:
    write(tmp_path, 2000, program("jit_second"), {"a.1": schedule([7])})
    write(tmp_path, 1000, program("jit_first"), {"a.1": schedule([5])})
    found = {each.name: count(*each.read(), CHIP).total for each in programs_in(tmp_path)}
    assert found == {"jit_first": 5, "jit_second": 7}


def test_the_command_counts_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump = tmp_path / "dump"
    dump.mkdir()
    assert command.main(["--count", str(dump)]) == 2
    assert "has no file *-TLP-hlo.txt" in capsys.readouterr().err
    write(dump, 1000, program("jit_theirs"), {"a.1": schedule([1_500_000])})
    assert command.main(["--count", str(dump), "--instructions", "3"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("jit_theirs, counted for a v5e:\n")
    assert "with overlap: 1.000 ms, of which waits 0.000" in said
    assert command.main(["--count", str(dump), "--topology", "v9:1x1"]) == 2
    assert "unknown topology 'v9:1x1'" in capsys.readouterr().err


@pytest.mark.parametrize("given", [[], ["--model", "m", "--count", "c"]])
def test_the_command_compiles_or_counts(given: list[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(given)


def test_a_dump_starts_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old").touch()
    assert command.main(["--model", "m", "--dump", str(tmp_path)]) == 2
    assert "--dump needs an empty folder" in capsys.readouterr().err


def test_chips_by_jaxs_names() -> None:
    assert chip_of("TPU v5 lite") is CHIPS["v5e"]
    assert chip_of("cpu") is None
