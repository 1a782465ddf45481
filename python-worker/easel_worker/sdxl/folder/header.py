"""The header of a safetensors file: its tensors' names, shapes and dtypes, and its metadata."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST = 100 * 2**20
"""The format's own limit of a header, in bytes."""

_SIZE_BYTES = 8


class HeaderError(ValueError):
    """Bytes that are not the beginning of a safetensors file."""


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's shape, dtype and place.

    Attributes:
        dtype: in safetensors' spelling ("BF16", "F8_E4M3", ...).
        offset: of its first byte, from the end of the header.
    """

    shape: tuple[int, ...]
    dtype: str
    offset: int


@dataclass(frozen=True)
class Header:
    """What a file says about its tensors.

    Attributes:
        tensors: by name, in the file's order.
        metadata: free text by key, such as "modelspec.architecture".
        end: the offset of the first tensor's bytes in the file.
    """

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    end: int

    def has(self, prefix: str) -> bool:
        """Whether a tensor's name begins with `prefix`."""
        return any(name.startswith(prefix) for name in self.tensors)


def read_header(file: Path) -> Header:
    """Read the header of a file, and nothing else of it.

    https://github.com/huggingface/safetensors/blob/v0.8.0/README.md#format

    Raises:
        HeaderError: it is not a safetensors file.
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        size = header_size(stream.read(_SIZE_BYTES))
        return parse_header(stream.read(size))


def header_size(start: bytes) -> int:
    """The size of the JSON text after the first 8 bytes of a file.

    Raises:
        HeaderError: the bytes do not begin a safetensors file.
    """
    size = int.from_bytes(start, "little")
    if len(start) < _SIZE_BYTES or not 2 <= size <= LARGEST:
        raise HeaderError("not a safetensors file")
    return size


def parse_header(text: bytes) -> Header:
    """Parse the JSON text of a header.

    Raises:
        HeaderError: it is none.
    """
    try:
        values: dict[str, Any] = json.loads(text)
        metadata = values.pop("__metadata__", {})
        return Header(
            {
                name: TensorInfo(tuple(value["shape"]), value["dtype"], value["data_offsets"][0])
                for name, value in values.items()
            },
            metadata,
            _SIZE_BYTES + len(text),
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise HeaderError(f"not a safetensors file: {error!r}") from error
