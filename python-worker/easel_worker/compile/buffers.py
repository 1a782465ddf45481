"""Sizes and memory spaces of the arrays in an HLO type."""

import math
import re
from dataclasses import dataclass

_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_TILE = re.compile(r"T\(([\d,]+)\)")
_SPACE = re.compile(r"S\((\d+)\)")
_BITS = re.compile(r"^[a-z]+?(\d+)")

HBM = 0
VMEM = 1


@dataclass(frozen=True)
class Buffer:
    """One array in memory.

    Attributes:
        size: bytes, with its dimensions padded to whole tiles.
        space: the memory space: `HBM`, `VMEM`, or another such as that of flags.
    """

    size: int
    space: int


def buffers(type_text: str) -> tuple[Buffer, ...]:
    """The arrays of a type such as `(bf16[8,128]{1,0:T(8,128)(2,1)S(1)}, u32[]{:S(2)})`."""
    return tuple(_buffer(*found.groups()) for found in _ARRAY.finditer(type_text))


def hbm_bytes(type_text: str) -> int:
    """Bytes of the arrays that are in the chip's main memory."""
    return sum(each.size for each in buffers(type_text) if each.space == HBM)


def _buffer(dtype: str, dimensions: str, layout: str | None) -> Buffer:
    sizes = [int(each.lstrip("<=")) for each in dimensions.split(",") if each]
    order, _, memory = (layout or "").partition(":")
    minor_first = [int(each) for each in order.split(",") if each] or [*range(len(sizes))][::-1]
    if tile := _TILE.search(memory):
        for dimension, unit in zip(minor_first, reversed(tile[1].split(",")), strict=False):
            sizes[dimension] = -(-sizes[dimension] // int(unit)) * int(unit)
    space = _SPACE.search(memory)
    return Buffer(math.prod(sizes) * _bits(dtype) // 8, int(space[1]) if space else HBM)


def _bits(dtype: str) -> int:
    """Bits of an element; a boolean is stored as a byte, and tokens take none."""
    if dtype == "pred":
        return 8
    found = _BITS.match(dtype)
    return int(found[1]) if found else 0


def elements(type_text: str) -> tuple[str, ...]:
    """The types in a tuple's type; of another type, itself."""
    if not type_text.startswith("("):
        return (type_text,)
    found, depth, start = [], 0, 1
    for place, letter in enumerate(type_text):
        if letter in "({[":
            depth += 1
        elif letter in ")}]":
            depth -= 1
        if (letter == "," and depth == 1) or depth == 0:
            found.append(type_text[start:place].strip())
            start = place + 1
    return tuple(each for each in found if each)
