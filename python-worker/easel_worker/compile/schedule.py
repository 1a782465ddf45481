"""Cycles of kernels, from the compiler's final schedules.

libtpu can write a kernel's bundles (it issues one per cycle), with the loop over the grid and its
number of iterations. So cycles = bundles outside loops + Σ bundles · iterations. They leave out
waiting for memory and for the matrix unit.
"""

import re
from pathlib import Path

_FILE = re.compile(r"^\d+-(?P<name>[\w.\-]+?)(?:\.\d+)?-\d+-final_bundles\.txt$")
_BUNDLE = re.compile(r"^\s*0x([0-9a-f]+)\s+(LB)?")
_EXIT_TEST = re.compile(r"(%p\w+) = scmp\.ge\.s32\.totalorder %\w+, (\d+) /\* loop exit test \*/")
_BRANCH = re.compile(r"sbr\.rel \(!(%p\w+)\)")


def kernel_cycles(folder: Path, names: set[str]) -> dict[str, int]:
    """The maximum scheduled cycles of the kernels of each name.

    Args:
        folder: the folder where the compiler wrote schedules, see `topology.prepare`.
        names: names of kernels, without their unique numbers.
    """
    longest: dict[str, int] = {}
    for path in folder.glob("*-final_bundles.txt"):
        found = _FILE.match(path.name)
        if found and found["name"] in names:
            cycles = scheduled_cycles(path.read_text(encoding="utf-8"))
            longest[found["name"]] = max(cycles, longest.get(found["name"], 0))
    return longest


def scheduled_cycles(text: str) -> int:
    """The cycles of one schedule, with all iterations of its loops."""
    last, extra = -1, 0
    begun: list[int] = []
    turns: dict[str, int] = {}
    for line in text.splitlines():
        if bundle := _BUNDLE.match(line):
            last = int(bundle[1], 16)
            if bundle[2]:
                begun.append(last)
        if test := _EXIT_TEST.search(line):
            turns[test[1]] = int(test[2])
        branch = _BRANCH.search(line)
        if branch and branch[1] in turns and begun:
            extra += (last - begun.pop() + 1) * (turns[branch[1]] - 1)
    return last + 1 + extra
