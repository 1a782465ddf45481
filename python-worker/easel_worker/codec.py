"""Turns messages into frames and back. For any frames `unpack` returns a message or raises.

msgspec checks a header against the annotations in `easel_worker.protocol`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import UNSET

from easel_worker.protocol import (
    MAX_HEADER_BYTES,
    NO_PIXELS,
    VERSION,
    VERSION_WITH_PICTURES,
    VERSION_WITH_STATES,
    VERSIONS,
    Buffer,
    Failed,
    Generate,
    Message,
    PictureForm,
    PreviewSize,
    Progress,
    Refused,
    Result,
    StateForm,
)

BadMessageCode = Literal[
    "prefix",  # frame 0 is missing or not two bytes long
    "version",  # another version of the protocol
    "kind",  # an unknown kind, or one that this side does not receive
    "header_size",  # the header is missing or longer than MAX_HEADER_BYTES
    "header_json",  # not one JSON object in UTF-8
    "header_field",  # a field is missing, has the wrong type or is out of range
    "binary_count",  # the kind, version and header ask for a different number of binary frames
    "binary_size",  # a binary frame does not hold what the header says
]


M = TypeVar("M", bound=Message)


class BadMessage(ValueError):
    """The frames are not a message of this protocol; `code` says what is wrong."""

    def __init__(self, code: BadMessageCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code: BadMessageCode = code


def pack(message: Message) -> list[Buffer]:
    """The frames of a message. Pixels are not copied."""
    prefix = bytes((message.kind, _version_of(message)))
    # to_builtins keeps the pixels as they are and leaves out fields that are UNSET.
    header = msgspec.to_builtins(message, builtin_types=(bytes, memoryview))
    pixels, more = header.pop("pixels", NO_PIXELS), header.pop("frames", ())
    # json, not msgspec.json: text made from a file name may contain lone surrogates.
    frames: list[Buffer] = [prefix, json.dumps(header, separators=(",", ":")).encode()]
    return [*frames, *more, *([pixels] if pixels else [])]


def unpack(frames: Sequence[Buffer], kinds: Mapping[int, type[M]]) -> M:
    """Read the message in the frames.

    Args:
        frames: the message's frames.
        kinds: the messages that the reader receives: FROM_GATEWAY or FROM_WORKER.

    Raises:
        BadMessage: the frames are none of these messages; its `code` and text say why.
    """
    kind = _message_type(frames, kinds)
    header, binary = _json_object(frames), frames[2:]
    # Pixels come only from a binary frame, never from the header.
    header["pixels"] = binary[0] if binary else NO_PIXELS
    header["frames"] = tuple(memoryview(frame) for frame in binary)
    try:
        message = msgspec.convert(header, kind)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise BadMessage("header_field", f"{kind.__name__}: {error}") from error
    _check_binary(message, binary, version=frames[0][1])
    return message


def _message_type(frames: Sequence[Buffer], kinds: Mapping[int, type[M]]) -> type[M]:
    if not frames or len(frames[0]) != 2:
        raise BadMessage("prefix", "frame 0 must be the two bytes kind and version")
    kind, version = frames[0]
    # REFUSED is the same in all versions, so that a gateway of another version can refuse us.
    if version not in VERSIONS and kind != Refused.kind:
        raise BadMessage(
            "version",
            f"this side speaks versions {VERSIONS[0]} to {VERSIONS[-1]}, the message has version "
            f"{version}",
        )
    if kind not in kinds:
        raise BadMessage("kind", f"this side receives no message of the kind 0x{kind:02x}")
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
    """Read 1.0 as the integer 1: JSON has only one type of number."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _check_binary(message: Message, binary: Sequence[Buffer], version: int) -> None:
    sizes = _binary_sizes(message)
    wrong_version = version != _version_of(message) and isinstance(message, Generate | Failed)
    if len(binary) != len(sizes) or wrong_version:
        detail = f"{type(message).__name__} of version {version} came with {len(binary)}"
        raise BadMessage("binary_count", f"{detail} binary frames")
    for number, (frame, size) in enumerate(zip(binary, sizes, strict=True)):
        if len(frame) != size:
            raise BadMessage("binary_size", f"frame {number} needs {size} bytes, got {len(frame)}")


def _version_of(message: Message) -> int:
    """The lowest version that has all that a message contains."""
    match message:
        case Generate() | Failed() if message.states is not UNSET:
            return VERSION_WITH_STATES
        case Generate() if message.pictures is not UNSET:
            return VERSION_WITH_PICTURES
        case _:
            return VERSION


def _binary_sizes(message: Message) -> list[int]:
    """How long each binary frame is that the header announces."""
    match message:
        case Generate() | Failed():
            forms: list[PictureForm | StateForm] = []
            if isinstance(message, Generate) and message.pictures is not UNSET:
                forms += message.pictures
            if message.states is not UNSET:
                forms += message.states
            return [form.bytes for form in forms]
        case Result(width=width, height=height, latents=latents):
            return [width * height * 3 if latents is UNSET else latents.bytes]
        case Progress(preview=PreviewSize(width, height)):
            return [width * height * 3]
        case _:
            return []
