"""Read the compiler's estimates from a TPU program's optimized HLO.

The compiler annotates most instructions with estimated cycles, but not our kernels ("custom calls")
and not loops. So we read the entry computation, where a fusion's estimate includes its body, and
the bodies of loops.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_CALLED = re.compile(r"calls=%([\w.\-]+)")
_SCOPE = re.compile(r'op_name="([^"]*)"')
_RESULT = re.compile(r"^\s*(?:ROOT )?%([\w.\-]+) = (\S+)")
_KERNEL = 'custom_call_target="tpu_custom_call"'
_COLLECTIVE = re.compile(
    r" (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\("
)
_LOOP = re.compile(r" while\(.*condition=%([\w.\-]+), body=%([\w.\-]+)")
_CONSTANT = re.compile(r" s32\[\]\S* constant\((\d+)\)")
_WINDOW = re.compile(r" convolution\(.*?window=\{size=(\d+(?:x\d+)*)")


class Kind(Enum):
    """The kind of an instruction's main work."""

    DOT = "dot"
    CONV = "conv"
    OTHER = "other"
    KERNEL = "kernel"


@dataclass(frozen=True)
class Instruction:
    """One instruction of the entry computation or of a loop.

    Attributes:
        name: unique in the program.
        kind: its main work.
        cycles: the compiler's estimate; None for a kernel.
        result: its shape and layout.
        scope: the named scopes of our code that it comes from.
        collective: the kind of communication between chips, or None.
        times: how often it runs: the product of the iterations of its loops.
    """

    name: str
    kind: Kind
    cycles: int | None
    result: str
    scope: str
    collective: str | None
    times: int = 1

    @property
    def base(self) -> str:
        """The name without its unique number."""
        return re.sub(r"\.\d+$", "", self.name)


def instructions(text: str) -> list[Instruction]:
    """The instructions that the compiler gives cycles for, kernels, and collectives.

    Args:
        text: `compiled.as_text()`.
    """
    return list(_instructions("ENTRY", dict(_computations(text))))


def _instructions(computation: str, bodies: dict[str, list[str]]) -> Iterator[Instruction]:
    for line in bodies[computation]:
        if loop := _LOOP.search(line):
            turns = _turns(bodies[loop[1]])
            for inner in _instructions(loop[2], bodies):
                yield replace(inner, times=inner.times * turns)
        elif (found := _read(line, bodies)) is not None:
            yield found


def _turns(condition: list[str]) -> int:
    """Iterations of a loop that `lax.map` made: from 0 to below a constant. Others count once."""
    limits = [int(found[1]) for line in condition if (found := _CONSTANT.search(line))]
    counts = any("direction=LT" in line for line in condition)
    return limits[0] if counts and len(limits) == 1 else 1


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each computation's name ("ENTRY" for the entry) and its lines."""
    name = ""
    lines: list[str] = []
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            name, lines = line.split()[0].lstrip("%"), []
        elif line.startswith("}") and name:
            yield name, lines
            name = ""
        elif name:
            lines.append(line)


def _read(line: str, bodies: dict[str, list[str]]) -> Instruction | None:
    result, cycles = _RESULT.match(line), _CYCLES.search(line)
    communication = _COLLECTIVE.search(line)
    is_kernel = _KERNEL in line
    if result is None or not (cycles or communication or is_kernel):
        return None
    scope = _SCOPE.search(line)
    return Instruction(
        name=result[1],
        kind=Kind.KERNEL if is_kernel else _kind(line, bodies),
        cycles=None if cycles is None else int(cycles[1]),
        result=result[2],
        scope="" if scope is None else scope[1],
        collective=None if communication is None else communication[1],
    )


def _kind(line: str, bodies: dict[str, list[str]]) -> Kind:
    """The compiler writes a matrix product as a convolution without a window or with a 1×1 one."""
    called = _CALLED.search(line)
    body = bodies.get(called[1], []) if called else []
    products = [each for each in [line, *body] if " convolution(" in each]
    windows = [found[1] for each in products if (found := _WINDOW.search(each))]
    if any(size != "1" for window in windows for size in window.split("x")):
        return Kind.CONV
    return Kind.DOT if products else Kind.OTHER
