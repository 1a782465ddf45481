"""Frames ⇄ messages. Whatever arrives, `unpack` answers a message or raises `BadMessage`.

The header's rules come from the annotations in `easel_worker.protocol`: a field is declared once.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from easel_worker.headers import BadHeader, read_fields
from easel_worker.protocol import BINARY, MAX_HEADER_BYTES, VERSION, Buffer, Message, Refused

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
    header = json.dumps(plain(message), separators=(",", ":")).encode()
    pixels = getattr(message, "pixels", None)
    return [prefix, header] if pixels is None else [prefix, header, pixels]


def unpack(frames: Sequence[Buffer], kinds: Mapping[int, type[M]]) -> M:
    """The message in the frames.

    Args:
        kinds: which messages the reader takes: FROM_GATEWAY or FROM_WORKER.

    Raises:
        BadMessage: the frames hold none of these; its `code` and text say why.
    """
    message = _message_type(frames, kinds)
    values = _values(message, _json_object(frames))
    size = _picture_size(message, values)
    binary = frames[2:]
    if len(binary) != (size is not None):
        raise BadMessage(
            "binary_count", f"{message.__name__} came with {len(binary)} binary frames"
        )
    if size is not None:
        values["pixels"] = _pixels(binary[0], *size)
    return message(**values)


def plain(value: object) -> Any:
    """A message or a part of one as JSON values, without binary fields and absent optional ones."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    return {
        field.name: plain(item)
        for field in dataclasses.fields(value)
        if field.metadata != BINARY
        and not ((item := getattr(value, field.name)) is None and field.default is None)
    }


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


def _json_object(frames: Sequence[Buffer]) -> dict[str, object]:
    if len(frames) < 2:
        raise BadMessage("header_size", "frame 1, the header, is missing")
    if len(frames[1]) > MAX_HEADER_BYTES:
        raise BadMessage("header_size", f"{len(frames[1])} bytes, at most {MAX_HEADER_BYTES}")
    try:
        header = json.loads(bytes(frames[1]).decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadMessage("header_json", str(error) or "nested too deep") from error
    if not isinstance(header, dict):
        raise BadMessage("header_json", "the header must be one JSON object")
    return header


def _values(message: type[Any], header: dict[str, object]) -> dict[str, Any]:
    try:
        return read_fields(message, header)
    except BadHeader as error:
        raise BadMessage("header_field", f"{message.__name__}: {error}") from error


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _picture_size(message: type[Any], values: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height of the binary frame that the header announces."""
    if "pixels" not in {field.name for field in dataclasses.fields(message)}:
        return None
    if "width" in values:
        return values["width"], values["height"]
    preview = values.get("preview")
    return None if preview is None else (preview.width, preview.height)


def _pixels(frame: Buffer, width: int, height: int) -> Buffer:
    if len(frame) != width * height * 3:
        detail = f"{width}×{height} needs {width * height * 3} bytes, got {len(frame)}"
        raise BadMessage("binary_size", detail)
    return frame
