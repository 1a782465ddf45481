"""The work of our kernels: the cost estimate that each gives the compiler."""

from collections.abc import Iterator
from typing import Any, NamedTuple


class Work(NamedTuple):
    """Work of one call. `int8`: whether it multiplies 8-bit integers."""

    flops: float
    moved: float
    int8: bool


def kernel_work(jaxpr: Any) -> dict[str, Work]:
    """The work of each kernel of a program by name.

    Raises:
        ValueError: a kernel has no cost estimate, or two kernels of one name have different ones.
    """
    work: dict[str, Work] = {}
    for equation in _kernels(jaxpr):
        name, cost = equation.params["name"], equation.params["cost_estimate"]
        if cost is None:
            raise ValueError(f"the kernel {name} has no cost: give it a cost_estimate")
        int8 = any(operand.aval.dtype == "int8" for operand in equation.invars)
        own = Work(cost.flops, cost.bytes_accessed, int8)
        if work.setdefault(name, own) != own:
            raise ValueError(f"two kernels {name} have different costs: give them different names")
    return work


def _kernels(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "pallas_call":
            yield equation
        else:
            for parameter in equation.params.values():
                for inner in parameter if isinstance(parameter, tuple | list) else (parameter,):
                    if hasattr(inner, "eqns"):
                        yield from _kernels(inner)
