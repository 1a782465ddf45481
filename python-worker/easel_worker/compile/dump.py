"""The folder that the TPU's compiler writes: each program's final HLO and its schedules."""

import re
from dataclasses import dataclass
from pathlib import Path

from easel_worker.compile.hlo import Module, read_module
from easel_worker.compile.schedule import Schedule, read_schedule

_PROGRAM = re.compile(r"^(\d+)-TLP-hlo\.txt$")
_SCHEDULE = re.compile(r"^(\d+)-(.+)-\d+-final_bundles\.txt$")
_ANALYSIS = "-schedule-analysis_"
_MODULE_NAME = re.compile(r"^HloModule ([^,\s]+)")


@dataclass(frozen=True)
class Dumped:
    """One program in a folder.

    Attributes:
        name: the module's name.
        program: the file of its HLO.
        schedules: the files of its schedules, by the operation's name.
    """

    name: str
    program: Path
    schedules: dict[str, Path]

    def read(self) -> tuple[Module, dict[str, Schedule]]:
        """The program and its schedules. Takes seconds for a large one."""
        texts = {name: path.read_text(encoding="utf-8") for name, path in self.schedules.items()}
        return (
            read_module(self.program.read_text(encoding="utf-8")),
            {name: read_schedule(text) for name, text in texts.items()},
        )


def programs_in(folder: Path) -> list[Dumped]:
    """The programs that were compiled one after the other, in that order.

    Args:
        folder: what libtpu's flag `--xla_jf_dump_to` names, see `topology.dump_flags`.

    Raises:
        ValueError: the folder has no program.
    """
    begun = sorted(
        (int(found[1]), path) for path in folder.iterdir() if (found := _PROGRAM.match(path.name))
    )
    if not begun:
        raise ValueError(f"{folder} has no file *-TLP-hlo.txt: no TPU program was dumped there")
    written: list[dict[str, Path]] = [{} for _ in begun]
    for path in sorted(folder.glob("*-final_bundles.txt")):
        found = _SCHEDULE.match(path.name)
        if found and _ANALYSIS not in path.name:
            of = sum(time <= int(found[1]) for time, _ in begun) - 1
            written[max(of, 0)][found[2]] = path
    return [
        Dumped(_name(program), program, schedules)
        for (_, program), schedules in zip(begun, written, strict=True)
    ]


def _name(program: Path) -> str:
    with program.open(encoding="utf-8") as lines:
        found = _MODULE_NAME.match(lines.readline())
    return found[1] if found else program.name
