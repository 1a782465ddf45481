"""Published figures of the chips.

https://cloud.google.com/tpu/docs/v5e
https://cloud.google.com/tpu/docs/v6e
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """One chip.

    Attributes:
        name: the name that topologies begin with.
        bandwidth: memory bandwidth in bytes per second.
        memory: bytes of memory.
        clock: cycles per second. v5e's is its 197 TFLOP/s over four matrix units of 128×128. For
            v6e we use the same, because Google publishes none: do not compare the two.
    """

    name: str
    bandwidth: float
    memory: int
    clock: float


_V5E_CLOCK = 1.5e9

CHIPS = {
    "v5e": Chip("v5e", 819e9, 16 * 10**9, _V5E_CLOCK),
    "v6e": Chip("v6e", 1640e9, 32 * 10**9, _V5E_CLOCK),
}

_KINDS = {"TPU v5 lite": "v5e", "TPU v5e": "v5e", "TPU v6 lite": "v6e", "TPU v6e": "v6e"}
"""Chips by jax's device kind."""


def chip_of(device_kind: str) -> Chip | None:
    """The chip of a jax device kind; None for one that is not listed, such as a CPU."""
    name = _KINDS.get(device_kind)
    return None if name is None else CHIPS[name]
