"""Frames ⇄ messages. Whatever arrives, `unpack` answers a message or raises `BadMessage`.

msgspec reads a header by the annotations in `easel_worker.protocol`: a field is declared once.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from easel_worker.protocol import (
    MAX_HEADER_BYTES,
    NO_PIXELS,
    VERSION,
    Buffer,
    Message,
    PreviewSize,
    Progress,
    Refused,
    Result,
)

BadMessageCode = Literal[
    "prefix",  # frame 0 is missing or not two bytes long
    "version",  # another version of the protocol
    "kind",  # no such kind, or not for this side
    "header_size",  # no header, or a longer one than MAX_HEADER_BYTES
    "header_json",  # not one JSON object in UTF-8
    "header_field",  # a field is missing, has the wrong type or is out of range
    "binary_count",  # another number of binary frames than the kind has
    "binary_size",  # a binary frame does not hold width · height · 3 bytes
]


M = TypeVar("M", bound=Message)


class BadMessage(ValueError):
    """The frames are no message of this protocol; `code` says in which way."""

    def __init__(self, code: BadMessageCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code: BadMessageCode = code


def pack(message: Message) -> list[Buffer]:
    """The frames of a message; pixels are handed on without a copy."""
    prefix = bytes((message.kind, VERSION))
    # The pixels come out as they went in, and fields that are UNSET do not come out.
    header = msgspec.to_builtins(message, builtin_types=(bytes, memoryview))
    pixels = header.pop("pixels", NO_PIXELS)
    # Not msgspec.json.encode: text from a file's name can hold what is no UTF-8.
    frames: list[Buffer] = [prefix, json.dumps(header, separators=(",", ":")).encode()]
    return [*frames, pixels] if pixels else frames


def unpack(frames: Sequence[Buffer], kinds: Mapping[int, type[M]]) -> M:
    """The message in the frames.

    Args:
        kinds: which messages the reader takes: FROM_GATEWAY or FROM_WORKER.

    Raises:
        BadMessage: the frames hold none of these; its `code` and text say why.
    """
    kind = _message_type(frames, kinds)
    header, binary = _json_object(frames), frames[2:]
    # A picture has a frame of its own, whatever the header says.
    header["pixels"] = binary[0] if binary else NO_PIXELS
    try:
        message = msgspec.convert(header, kind)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise BadMessage("header_field", f"{kind.__name__}: {error}") from error
    _check_binary(message, binary)
    return message


def _message_type(frames: Sequence[Buffer], kinds: Mapping[int, type[M]]) -> type[M]:
    if not frames or len(frames[0]) != 2:
        raise BadMessage("prefix", "frame 0 must be the two bytes kind and version")
    kind, version = frames[0]
    # A gateway of another version can say that it is one: REFUSED reads the same in all versions.
    if version != VERSION and kind != Refused.kind:
        raise BadMessage(
            "version", f"this side speaks version {VERSION}, the message has {version}"
        )
    if kind not in kinds:
        raise BadMessage("kind", f"no message to this side has the kind 0x{kind:02x}")
    return kinds[kind]


def _json_object(frames: Sequence[Buffer]) -> dict[str, Any]:
    if len(frames) < 2:
        raise BadMessage("header_size", "frame 1, the header, is missing")
    if len(frames[1]) > MAX_HEADER_BYTES:
        raise BadMessage("header_size", f"{len(frames[1])} bytes, at most {MAX_HEADER_BYTES}")
    try:
        text = bytes(frames[1]).decode()
        header = json.loads(text, parse_float=_number, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadMessage("header_json", str(error) or "nested too deep") from error
    if not isinstance(header, dict):
        raise BadMessage("header_json", "the header must be one JSON object")
    return header


def _number(text: str) -> float:
    """JSON has one kind of number: 1.0 is 1."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _check_binary(message: Message, binary: Sequence[Buffer]) -> None:
    size = _picture_size(message)
    if len(binary) != (size is not None):
        detail = f"{type(message).__name__} came with {len(binary)} binary frames"
        raise BadMessage("binary_count", detail)
    if size is not None and len(binary[0]) != size.width * size.height * 3:
        needed = f"{size.width}×{size.height} needs {size.width * size.height * 3} bytes"
        raise BadMessage("binary_size", f"{needed}, got {len(binary[0])}")


def _picture_size(message: Message) -> PreviewSize | Result | None:
    """What has width and height of the binary frame that the header announces."""
    match message:
        case Result():
            return message
        case Progress(preview=PreviewSize() as preview):
            return preview
        case _:
            return None
