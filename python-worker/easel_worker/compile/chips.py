"""Published figures of the chips, for rooflines.

https://cloud.google.com/tpu/docs/v5e
https://cloud.google.com/tpu/docs/v6e
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """One chip.

    Attributes:
        name: the name that topologies begin with.
        flops: bfloat16 operations per second.
        int8: operations on 8-bit integers per second.
        bandwidth: memory bandwidth in bytes per second.
        memory: bytes of memory.
        clock: cycles per second, to convert the compiler's estimated cycles. For v6e we use v5e's,
            because nothing says that its estimates have another unit.
    """

    name: str
    flops: float
    int8: float
    bandwidth: float
    memory: int
    clock: float


_V5E_CLOCK = 1.5e9

CHIPS = {
    "v5e": Chip("v5e", 197e12, 394e12, 819e9, 16 * 10**9, _V5E_CLOCK),
    "v6e": Chip("v6e", 918e12, 1836e12, 1640e9, 32 * 10**9, _V5E_CLOCK),
}

_KINDS = {"TPU v5 lite": "v5e", "TPU v5e": "v5e", "TPU v6 lite": "v6e", "TPU v6e": "v6e"}
"""Chips by jax's device kind."""


def chip_of(device_kind: str) -> Chip | None:
    """The chip of a jax device kind; None for one that is not listed, such as a CPU."""
    name = _KINDS.get(device_kind)
    return None if name is None else CHIPS[name]


def roofline(chip: Chip, flops: float, bytes_moved: float, *, int8: bool = False) -> float:
    """The minimum time of some work in seconds: the longer of computing and moving data.

    Args:
        chip: the chip that does it.
        flops: number of operations.
        bytes_moved: bytes moved to and from the chip's memory.
        int8: whether the operations are on 8-bit integers.
    """
    return max(flops / (chip.int8 if int8 else chip.flops), bytes_moved / chip.bandwidth)
