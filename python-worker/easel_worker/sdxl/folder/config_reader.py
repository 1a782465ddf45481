"""Strict reading of a config file: errors name the file, key and value."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from easel_worker.text_file import TextFileError, read_object

Depth = int | tuple[int, ...]
"""The number of a transformer's blocks: one for all transformers of a level, or one for each."""


class ConfigError(ValueError):
    """A config asks for something that this worker does not support."""


@dataclass(frozen=True)
class ConfigFile:
    """A config: a JSON file, or other values in its place.

    Attributes:
        path: the file, for messages too.
        values: instead of the file's, or None.
    """

    path: Path
    values: Mapping[str, Any] | None = None


class ConfigReader:
    """A JSON object, read key by key.

    Older checkpoints lack keys of newer library versions, so callers pass the defaults of diffusers
    or transformers.
    """

    def __init__(self, file: ConfigFile | Path) -> None:
        self.path = file if isinstance(file, Path) else file.path
        given = None if isinstance(file, Path) else file.values
        self.values = read_config_file(self.path) if given is None else dict(given)

    def fail(self, key: str, why: str) -> NoReturn:
        """Refuse the value of a key."""
        raise ConfigError(f"{self.path}: {key} = {json.dumps(self.values.get(key))}: {why}")

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number ≥ 0."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.fail(key, "must be a whole number, 0 or more")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number."""
        value = self._get(key, default)
        if not _is_number(value):
            self.fail(key, "must be a number")
        return float(value)

    def boolean(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            self.fail(key, "must be true or false")
        return value

    def string(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self._get(key, default)
        if not isinstance(value, str):
            self.fail(key, "must be a string")
        return value

    def strings(self, key: str, allowed: Iterable[str]) -> tuple[str, ...]:
        """A non-empty list of strings from `allowed`."""
        value, known = self._get(key, None), tuple(allowed)
        if not isinstance(value, list) or not value or any(v not in known for v in value):
            self.fail(key, f"must be a list; only {', '.join(known)} are supported")
        return tuple(value)

    def integers(self, key: str) -> tuple[int, ...]:
        """A non-empty list of whole numbers ≥ 1."""
        value = self._get(key, None)
        if not isinstance(value, list) or not value or not all(_is_count(v) for v in value):
            self.fail(key, "must be a list of whole numbers, 1 or more")
        return tuple(value)

    def per_level(self, key: str, levels: int, default: int) -> tuple[int, ...]:
        """A whole number ≥ 1 for each level, from a list or from one number for all."""
        value = self._get(key, default)
        each = [value] * levels if _is_count(value) else value
        if not isinstance(each, list) or len(each) != levels or not all(_is_count(v) for v in each):
            self.fail(key, f"must be a whole number, 1 or more, or a list of {levels} of them")
        return tuple(each)

    def depths(self, key: str, levels: int, default: int) -> tuple[Depth, ...]:
        """A depth for each level, from a list or from one number for all."""
        value = self._get(key, default)
        each = [value] * levels if _is_depth(value) else value
        if not isinstance(each, list) or len(each) != levels or not all(map(_is_depths, each)):
            self.fail(
                key,
                f"must be a whole number, or a list of {levels} whole numbers or lists of them",
            )
        return tuple(tuple(depth) if isinstance(depth, list) else depth for depth in each)

    def numbers_or_none(self, key: str, length: int) -> tuple[float, ...] | None:
        """A list of `length` numbers, or None if the key is null or absent."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != length or not all(map(_is_number, value)):
            self.fail(key, f"must be null or a list of {length} numbers")
        return tuple(float(v) for v in value)

    def require(self, key: str, *supported: Any) -> None:
        """Refuse values other than `supported`. An absent key means the first of them."""
        value = self.values.get(key, supported[0])
        if value is None and supported[0] is False:
            value = False  # a switch that is null is off
        if not any(_same(value, known) for known in supported):
            names = " or ".join(json.dumps(s) for s in supported)
            self.fail(key, f"only {names} is supported")

    def divides(self, key: str, divisors: Iterable[int], channels: tuple[int, ...]) -> None:
        """Refuse a value that does not divide the channels of its level."""
        for divisor, size in zip(divisors, channels, strict=True):
            if divisor == 0 or size % divisor:
                self.fail(key, f"must divide block_out_channels, {list(channels)}")

    def only(self, known: Iterable[str]) -> None:
        """Refuse unknown keys, which might change the image."""
        for key in self.values:
            if not key.startswith("_") and key not in known:
                self.fail(key, "unknown key; remove it if it does not change the image")

    def _get(self, key: str, default: Any) -> Any:
        value = self.values.get(key, default)
        if value is None:
            value = default
        if value is None:
            raise ConfigError(f"{self.path}: {key} is missing")
        return value


def _same(value: object, known: object) -> bool:
    """Equality that distinguishes true from 1."""
    return value == known and isinstance(value, bool) == isinstance(known, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_depth(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_depths(value: object) -> bool:
    return _is_depth(value) or (isinstance(value, list) and all(map(_is_depth, value)))


def read_config_file(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ConfigError: there is none.
    """
    try:
        return read_object(path)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} is missing: the model must be a diffusers folder of SDXL"
        ) from error
    except TextFileError as error:
        raise ConfigError(str(error)) from error
