"""Frames ⇄ messages. Whatever arrives, `unpack` answers a message or raises `BadMessage`.

The header's rules come from the annotations in `easel_worker.protocol`, so a field is declared once.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from easel_worker.protocol import (
    BINARY,
    MAX_HEADER_BYTES,
    MESSAGES,
    VERSION,
    Between,
    Buffer,
    Length,
    Message,
)

BadMessageCode = Literal[
    "prefix",  # frame 0 is missing or not two bytes long
    "version",  # another version of the protocol
    "kind",  # no such kind
    "header_size",  # no header, or a longer one than MAX_HEADER_BYTES
    "header_json",  # not one JSON object in UTF-8
    "header_field",  # a field is missing, has the wrong type or is out of range
    "binary_count",  # another number of binary frames than the kind has
    "binary_size",  # a binary frame does not hold width · height · 3 bytes
]


class BadMessage(ValueError):  # noqa: N818 - the message is bad; it is not our error
    """The frames are no message of this protocol; `code` says in which way."""

    def __init__(self, code: BadMessageCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code: BadMessageCode = code


Reader = Callable[[object, str], Any]


def pack(message: Message) -> list[Buffer]:
    """The frames of a message; pixels are handed on without a copy."""
    prefix = bytes((message.kind, VERSION))
    header = json.dumps(plain(message), separators=(",", ":")).encode()
    pixels = getattr(message, "pixels", None)
    return [prefix, header] if pixels is None else [prefix, header, pixels]


def unpack(frames: Sequence[Buffer]) -> Message:
    """The message in the frames.

    Raises:
        BadMessage: they hold none; its `code` and text say why.
    """
    message = _message_type(frames)
    header = _json_object(frames)
    values: dict[str, object] = _reader(message)(header, "")
    size = _picture_size(message, values)
    binary = frames[2:]
    if len(binary) != (size is not None):
        raise BadMessage(
            "binary_count", f"{message.__name__} came with {len(binary)} binary frames"
        )
    if size is not None:
        values["pixels"] = _pixels(binary[0], *size)
    return message(**values)  # type: ignore[no-any-return]


def plain(value: object) -> Any:
    """A message or a part of one as JSON values, without binary fields and absent optional ones."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    return {
        field.name: plain(item)
        for field in dataclasses.fields(value)
        if not (field.metadata == BINARY)
        and not ((item := getattr(value, field.name)) is None and field.default is None)
    }


def _message_type(frames: Sequence[Buffer]) -> type[Any]:
    if not frames or len(frames[0]) != 2:
        raise BadMessage("prefix", "frame 0 must be the two bytes kind and version")
    kind, version = frames[0]
    if version != VERSION:
        raise BadMessage(
            "version", f"this side speaks version {VERSION}, the message has {version}"
        )
    if kind not in MESSAGES:
        raise BadMessage("kind", f"no message has the kind 0x{kind:02x}")
    return MESSAGES[kind]


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


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _picture_size(message: type[Any], values: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height of the binary frame that the header announces."""
    if "pixels" not in message.__dataclass_fields__:
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


def _fail(path: str, wanted: str, got: object) -> BadMessage:
    shown = "nothing" if got is dataclasses.MISSING else repr(got)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return BadMessage("header_field", f"{path or 'the header'} must be {wanted}, got {shown}")


@cache
def _reader(hint: Any) -> Reader:
    """A function that checks a JSON value against a type hint and converts it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _with_rule(_reader(arguments[0]), arguments[1])
    if origin is Literal:
        return _one_of(arguments)
    if origin in (Union, UnionType):
        return _nullable(next(_reader(choice) for choice in arguments if choice is not NoneType))
    if origin is tuple:
        return _list_of(arguments)
    if dataclasses.is_dataclass(hint):
        return _fields_of(hint)
    return {int: _integer, float: _number, str: _string, bool: _boolean}[hint]


def _integer(value: object, path: str) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # JSON has one kind of number: 1.0 is 1
    if not isinstance(value, int) or isinstance(value, bool):
        raise _fail(path, "an integer", value)
    return value


def _number(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _fail(path, "a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _fail(path, "a finite number", value)
    return number


def _string(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise _fail(path, "a string", value)
    return value


def _boolean(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise _fail(path, "true or false", value)
    return value


def _with_rule(read: Reader, rule: Between | Length) -> Reader:
    unit = "a length" if isinstance(rule, Length) else "a value"
    wanted = f"{unit} of at least {rule.least}"
    if rule.most is not None:
        wanted += f" and at most {rule.most}"

    def check(value: object, path: str) -> Any:
        result = read(value, path)
        size = len(result) if isinstance(rule, Length) else result
        too_small = rule.least is not None and size < rule.least
        if too_small or (rule.most is not None and size > rule.most):
            raise _fail(path, wanted, value)
        return result

    return check


def _one_of(choices: tuple[object, ...]) -> Reader:
    def check(value: object, path: str) -> object:
        if value not in choices:
            raise _fail(path, "one of " + ", ".join(map(str, choices)), value)
        return value

    return check


def _nullable(read: Reader) -> Reader:
    return lambda value, path: None if value is None else read(value, path)


def _list_of(items: tuple[Any, ...]) -> Reader:
    """Reads tuple[X, ...] from a list of any length, tuple[X, Y] from a list of that length."""
    fixed = None if items[-1] is Ellipsis else len(items)
    read = _reader(items[0])

    def check(value: object, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _fail(path, "a list", value)
        if fixed is not None and len(value) != fixed:
            raise _fail(path, f"a list of {fixed}", value)
        return tuple(read(item, f"{path}[{index}]") for index, item in enumerate(value))

    return check


def _fields_of(owner: type[Any]) -> Reader:
    """Reads an object; fields that it does not know are ignored.

    Answers a `owner`, or the dict of its values if the type has a binary field still to come.
    """
    hints = get_type_hints(owner, include_extras=True)
    is_message = owner in MESSAGES.values()
    fields = [field for field in dataclasses.fields(owner) if field.metadata != BINARY]
    readers = {field.name: _reader(_present(hints[field.name], field)) for field in fields}
    required = {field.name for field in fields if field.default is dataclasses.MISSING}

    def check(value: object, path: str) -> Any:
        if not isinstance(value, dict):
            raise _fail(path, "an object", value)
        values = {}
        for name, read in readers.items():
            where = f"{path}.{name}" if path else name
            if name in value:
                values[name] = read(value[name], where)
            elif name in required:
                raise _fail(where, "there", dataclasses.MISSING)
        return values if is_message else owner(**values)

    return check


def _present(hint: Any, field: "dataclasses.Field[Any]") -> Any:
    """The hint of an optional field when it is there: it may be left out, but not be null."""
    if field.default is not None:
        return hint
    return next(choice for choice in get_args(hint) if choice is not NoneType)
