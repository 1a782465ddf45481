"""What the chips can do, for rooflines: published figures.

https://cloud.google.com/tpu/docs/v5e
https://cloud.google.com/tpu/docs/v6e
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """One chip.

    Attributes:
        name: as topologies are named.
        flops: bfloat16 operations a second.
        int8: operations on 8-bit integers a second.
        bandwidth: of its memory, bytes a second.
        memory: bytes.
        clock: cycles a second, of which the compiler's estimates are counted. For v6e we take
            v5e's, whose estimates are in the same unit for all we know.
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
"""jax's names of devices."""


def chip_of(device_kind: str) -> Chip | None:
    """The chip of a jax device, or None for one that is not listed, such as a CPU."""
    name = _KINDS.get(device_kind)
    return None if name is None else CHIPS[name]


def roofline(chip: Chip, flops: float, bytes_moved: float, *, int8: bool = False) -> float:
    """The least seconds that work can take: the longer of computing and moving.

    Args:
        chip: what does it.
        flops: operations.
        bytes_moved: to and from its memory.
        int8: whether the operations are on 8-bit integers.
    """
    return max(flops / (chip.int8 if int8 else chip.flops), bytes_moved / chip.bandwidth)
