"""Read a TPU program's optimized HLO: its computations, operations, and the kind of their work."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

ENTRY = "ENTRY"

_OPERATION = re.compile(r"^\s+(?:ROOT )?%([\w.\-]+) = ")
_OPCODE = re.compile(r"\s*([\w\-]+)\(")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(r"\b(?:calls|to_apply|called_computations)=\{?%([\w.\-]+)")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_SCOPE = re.compile(r'op_name="([^"]*)"')
_COLLECTIVE = re.compile(
    r"^(all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?$"
)
_LOOP = re.compile(r"condition=%([\w.\-]+), body=%([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TWO_BRANCHES = re.compile(r"true_computation=%([\w.\-]+), false_computation=%([\w.\-]+)")
_WINDOW = re.compile(r"window=\{size=(\d+(?:x\d+)*)")
_LIMIT = re.compile(r"^(\d+)$")


class Kind(Enum):
    """The kind of an operation's main work."""

    DOT = "dot"
    CONV = "conv"
    OTHER = "other"
    KERNEL = "kernel"


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        name: unique in the program.
        opcode: such as `fusion`.
        result: the type of its result, with layout and memory space; a tuple's in parentheses.
        arguments: the text between its parentheses.
        attributes: the text after them.
    """

    name: str
    opcode: str
    result: str
    arguments: str
    attributes: str

    @property
    def base(self) -> str:
        """The name without its unique number."""
        return re.sub(r"(\.\d+)+$", "", self.name)

    @property
    def operands(self) -> tuple[str, ...]:
        """The names of its operands."""
        return tuple(_NAME.findall(self.arguments))

    @property
    def called(self) -> str | None:
        """The computation that a fusion or call runs; None for another operation."""
        found = _CALLED.search(self.attributes)
        return found[1] if found else None

    @property
    def is_kernel(self) -> bool:
        """Whether it is a Pallas kernel."""
        return 'custom_call_target="tpu_custom_call"' in self.attributes

    @property
    def collective(self) -> str | None:
        """The kind of communication between chips, or None."""
        found = _COLLECTIVE.match(self.opcode)
        return found[1] if found else None

    @property
    def scope(self) -> str:
        """The named scopes of the source that it comes from."""
        found = _SCOPE.search(self.attributes)
        return found[1] if found else ""

    @property
    def loop(self) -> tuple[str, str] | None:
        """A `while`'s condition and body; None for another operation."""
        found = _LOOP.search(self.attributes) if self.opcode == "while" else None
        return (found[1], found[2]) if found else None

    @property
    def branches(self) -> tuple[str, ...]:
        """The computations of a `conditional`."""
        if self.opcode != "conditional":
            return ()
        if found := _BRANCHES.search(self.attributes):
            return tuple(_NAME.findall(found[1]))
        two = _TWO_BRANCHES.search(self.attributes)
        return two.groups() if two else ()


Module = dict[str, tuple[Operation, ...]]
"""The operations of each computation, in the order of the schedule; the entry's name is `ENTRY`."""


def read_module(text: str) -> Module:
    """Read a whole program.

    An attribute may span lines, and any of these may begin with a brace. So a computation ends at a
    line that is one closing brace and closes nothing else.

    Args:
        text: `compiled.as_text()`, or the compiler's file `*-TLP-hlo.txt`.

    Raises:
        ValueError: there is no entry computation, or a computation does not end.
    """
    module = {name: tuple(_read(each) for each in texts) for name, texts in _computations(text)}
    if ENTRY not in module:
        raise ValueError("this is no HLO program: it has no entry computation")
    return module


def turns(operation: Operation, module: Module) -> int:
    """Iterations of a loop that counts from 0 to below a constant, as `lax.map` makes; else 1."""
    if operation.loop is None:
        return 1
    condition = module.get(operation.loop[0], ())
    limits = [
        int(each.arguments)
        for each in condition
        if each.opcode == "constant" and _LIMIT.match(each.arguments)
    ]
    below = any("direction=LT" in each.attributes for each in _inside(condition, module))
    return limits[0] if below and len(limits) == 1 else 1


def kind_of(operation: Operation, module: Module) -> Kind:
    """The compiler writes a matrix product as a convolution without a window or with a 1×1 one."""
    if operation.is_kernel:
        return Kind.KERNEL
    products = [each for each in _inside((operation,), module) if each.opcode == "convolution"]
    windows = [found[1] for each in products if (found := _WINDOW.search(each.attributes))]
    if any(size != "1" for window in windows for size in window.split("x")):
        return Kind.CONV
    return Kind.DOT if products else Kind.OTHER


def collectives(module: Module) -> dict[str, int]:
    """How often the program communicates between chips, by kind."""
    found: dict[str, int] = {}
    for each, times in running(module):
        if each.collective is not None:
            found[each.collective] = found.get(each.collective, 0) + times
    return found


def running(
    module: Module, computation: str = ENTRY, times: int = 1
) -> Iterator[tuple[Operation, int]]:
    """Each operation of the entry computation and of its loops, with how often it runs."""
    for each in module[computation]:
        if each.loop is not None:
            yield from running(module, each.loop[1], times * turns(each, module))
        else:
            yield each, times


def _inside(operations: tuple[Operation, ...], module: Module) -> Iterator[Operation]:
    """Some operations, with those of the computations that they call."""
    for each in operations:
        yield each
        if each.called is not None:
            yield from _inside(module.get(each.called, ()), module)


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each computation's name and the text of its operations."""
    name = ""
    operations: list[list[str]] = []
    for line in text.splitlines():
        if not name:
            if line.endswith("{") and not line.startswith(" "):
                name, operations = line.split()[0].lstrip("%"), []
        elif line.rstrip() == "}" and (not operations or _is_whole(operations[-1])):
            yield name, ["\n".join(each) for each in operations]
            name = ""
        elif _OPERATION.match(line) and (not operations or _is_whole(operations[-1])):
            operations.append([line])
        elif operations:
            operations[-1].append(line)
    if name:
        raise ValueError(f"the computation {name} does not end")


def _is_whole(lines: list[str]) -> bool:
    """Whether all braces outside of quotes are closed."""
    if len(lines) == 1 and "{" not in lines[0]:
        return True
    bare = _QUOTED.sub("", "\n".join(lines))
    return bare.count("{") <= bare.count("}")


def _read(text: str) -> Operation:
    start = _OPERATION.match(text)
    assert start is not None, "an operation's text begins with its name"
    result, end = _type(text, start.end())
    opcode = _OPCODE.match(text, end)
    if opcode is None:
        raise ValueError(f"no opcode in the operation %{start[1]}")
    close = _closing(text, opcode.end() - 1)
    return Operation(start[1], opcode[1], result, text[opcode.end() : close], text[close + 1 :])


def _type(text: str, start: int) -> tuple[str, int]:
    """The type that begins at a position, and where it ends."""
    end = _closing(text, start) + 1 if text[start] == "(" else text.find(" ", start)
    return text[start:end], end


def _closing(text: str, opening: int) -> int:
    """The position of the parenthesis that closes the one at `opening`."""
    depth = 0
    for found in re.compile(r"[()]").finditer(text, opening):
        depth += 1 if found[0] == "(" else -1
        if depth == 0:
            return found.start()
    raise ValueError(f"unbalanced parentheses in {text[:80].strip()!r}")
