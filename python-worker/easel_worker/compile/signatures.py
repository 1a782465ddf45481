"""Which schedule belongs to an operation: the compiler writes that of equal operations once."""

import re
from collections.abc import Mapping

from easel_worker.compile.hlo import Module, Operation
from easel_worker.compile.schedule import Schedule

_IRRELEVANT = re.compile(
    r", (?:metadata|sharding|frontend_attributes)=\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
    r'|/\*index=\d+\*/|"offset":"\d+"'
)
_NAME = re.compile(r"%([\w.\-]+)")

Signature = tuple[str, ...]


class Schedules:
    """The schedules of a program's operations."""

    def __init__(self, module: Module, written: Mapping[str, Schedule]) -> None:
        """Index the schedules.

        Args:
            module: the program.
            written: schedules by the name of one of the operations that they are of.
        """
        self._module = module
        self._types = {each.name: each.result for body in module.values() for each in body}
        self._bodies: dict[str, str] = {}
        self._written = written
        self._equal: dict[Signature, Schedule] = {}
        self._alike: dict[Signature, Schedule] = {}
        for each in (each for body in module.values() for each in body):
            if each.name in written:
                alike = self._outside(each)
                self._alike.setdefault(alike, written[each.name])
                self._equal.setdefault((*alike, self._inside(each)), written[each.name])

    def of(self, operation: Operation) -> Schedule | None:
        """The schedule of an operation: its own, an equal one's, or one's of the same types."""
        own = self._written.get(operation.name)
        if own is not None:
            return own
        alike = self._outside(operation)
        if alike not in self._alike:
            return None
        return self._equal.get((*alike, self._inside(operation)), self._alike[alike])

    def _outside(self, operation: Operation) -> Signature:
        operands = (self._types.get(name, "") for name in operation.operands)
        name = operation.base if operation.is_kernel else operation.opcode
        return (name, operation.result, *operands)

    def _inside(self, operation: Operation) -> str:
        """What an operation does, without names, source locations and addresses."""
        attributes = _IRRELEVANT.sub("", operation.attributes)
        return _NAME.sub(lambda found: self._body(found[1]), attributes)

    def _body(self, computation: str) -> str:
        """A computation's text with its names replaced by their order."""
        if computation not in self._bodies:
            self._bodies[computation] = ""
            order: dict[str, str] = {}
            lines = []
            for each in self._module.get(computation, ()):
                order[each.name] = f"v{len(order)}"
                given = ",".join(order.get(name, name) for name in each.operands) or each.arguments
                lines.append(f"{each.opcode} {each.result} {given} {self._inside(each)}")
            self._bodies[computation] = "\n".join(lines)
        return self._bodies[computation]
