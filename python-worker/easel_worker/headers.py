"""JSON objects → dataclasses, by the dataclasses' own annotations, with errors that name the field.

What may be annotated: int, float, str, bool, Literal, X | None, tuple[X, ...], tuple[X, X], another
dataclass, and each of them with a `Between` or a `Length`. Unknown fields are ignored.
"""

import dataclasses
import math
import reprlib
from collections.abc import Callable
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from easel_worker.protocol import BINARY, Between, Length

Reader = Callable[[object, str], Any]


class BadHeader(ValueError):
    """A field is missing, has the wrong type or is out of range; the text says which and how."""


def read_fields(message: Any, header: dict[str, object]) -> dict[str, Any]:
    """The values for the message's constructor, without its binary field.

    Raises:
        BadHeader: the header does not fit the annotations.
    """
    return _values_of(message)(header, "")


def _wrong(path: str, wanted: str, got: object) -> BadHeader:
    return BadHeader(f"{path} must be {wanted}, got {reprlib.repr(got)}")


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
        return _object_of(hint)
    return {int: _integer, float: _number, str: _string, bool: _boolean}[hint]


def _integer(value: object, path: str) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # JSON has one kind of number: 1.0 is 1
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(path, "an integer", value)
    return value


def _number(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(path, "a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _wrong(path, "a finite number", value)
    return number


def _string(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(path, "a string", value)
    return value


def _boolean(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(path, "true or false", value)
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
            raise _wrong(path, wanted, value)
        return result

    return check


def _one_of(choices: tuple[object, ...]) -> Reader:
    def check(value: object, path: str) -> object:
        if value not in choices:
            raise _wrong(path, "one of " + ", ".join(map(str, choices)), value)
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
            raise _wrong(path, "a list", value)
        if fixed is not None and len(value) != fixed:
            raise _wrong(path, f"a list of {fixed}", value)
        return tuple(read(item, f"{path}[{index}]") for index, item in enumerate(value))

    return check


def _object_of(owner: Any) -> Reader:
    read = _values_of(owner)

    def check(value: object, path: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(path, "an object", value)
        return owner(**read(value, path))

    return check


@cache
def _values_of(owner: Any) -> Callable[[dict[str, object], str], dict[str, Any]]:
    """A function that reads the fields of a dataclass."""
    hints = get_type_hints(owner, include_extras=True)
    fields = [field for field in dataclasses.fields(owner) if field.metadata != BINARY]
    readers = {field.name: _reader(_present(hints[field.name], field)) for field in fields}
    required = {field.name for field in fields if field.default is dataclasses.MISSING}

    def check(value: dict[str, object], path: str) -> dict[str, Any]:
        values = {}
        for name, read in readers.items():
            where = f"{path}.{name}" if path else name
            if name in value:
                values[name] = read(value[name], where)
            elif name in required:
                raise BadHeader(f"{where} is missing")
        return values

    return check


def _present(hint: Any, field: "dataclasses.Field[Any]") -> Any:
    """The hint of an optional field when it is there: it may be left out, but not be null."""
    if field.default is not None:
        return hint
    return next(choice for choice in get_args(hint) if choice is not NoneType)
