"""Reads `easel.json`, which may state defaults for requests to a model."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from msgspec import UNSET, UnsetType

from easel_worker.sdxl.folder import presets
from easel_worker.text_file import TextFileError, read_object
from easel_worker.values import Size

FILE = "easel.json"


class EaselJsonError(ValueError):
    """easel.json has an invalid value. The message names file, key, value and remedy."""


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value < math.inf  # type: ignore[operator]


def _is_string(value: object) -> bool:
    return isinstance(value, str)


_WHOLE = (_is_whole, "a whole number, 1 or more")
_NUMBER = (_is_number, "a number, 0 or more")
_STRING = (_is_string, "a string")

_DEFAULTS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "width": _WHOLE,
    "height": _WHOLE,
    "num_inference_steps": _WHOLE,
    "guidance_scale": _NUMBER,
    "scheduler": _STRING,
    "negative_prompt": _STRING,
}
"""The keys of `defaults`, with a check and a description of their values."""


@dataclass(frozen=True)
class EaselJson:
    """What the file says: the defaults it has, further sizes to compile, and the model's preset.

    `preset` is None for a model that has none, whatever its name says.
    """

    defaults: Mapping[str, Any]
    sizes: tuple[Size, ...]
    preset: str | UnsetType | None = UNSET


def easel_json_of(model: Path) -> Path:
    """Where a model's easel.json can be: in its folder, or beside its single file."""
    return model / FILE if model.is_dir() else model.with_name(f"{model.name}.{FILE}")


def read_easel_json(path: Path) -> EaselJson:
    """Read easel.json: {"defaults": {}, "sizes": [[width, height]], "preset": ""}, all optional.

    Args:
        path: from `easel_json_of`; there need be no file.

    Raises:
        EaselJsonError: the file is not a JSON object, or has an unknown key or an invalid value.
    """
    values = _read(path)
    _only(path, "", values, ("defaults", "sizes", "preset"))
    given, sizes = values.get("defaults", {}), values.get("sizes", [])
    preset = values.get("preset", UNSET)
    if not isinstance(given, dict):
        _fail(path, "defaults", given, 'must be an object such as {"num_inference_steps": 25}')
    _only(path, "defaults.", given, _DEFAULTS)
    for key, value in given.items():
        fits, kind = _DEFAULTS[key]
        if not fits(value):
            _fail(path, f"defaults.{key}", value, f"must be {kind}")
    if not isinstance(sizes, list):
        _fail(path, "sizes", sizes, "must be a list such as [[1024, 1024], [768, 1344]]")
    if preset not in (UNSET, None, *presets.NAMES):
        names = ", ".join(presets.NAMES)
        _fail(path, "preset", preset, f"must be null for none, or one of {names}")
    numbered = enumerate(sizes)
    return EaselJson(given, tuple(_size(path, number, size) for number, size in numbered), preset)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except FileNotFoundError:
        return {}
    except TextFileError as error:
        raise EaselJsonError(str(error)) from error


def _only(path: Path, where: str, values: dict[str, Any], known: Iterable[str]) -> None:
    for key, value in values.items():
        if key not in known:
            names = ", ".join(f"{where}{name}" for name in known)
            _fail(path, f"{where}{key}", value, f"unknown key; the keys are {names}")


def _size(path: Path, number: int, value: object) -> Size:
    if not (isinstance(value, list) and len(value) == len(Size._fields)):
        _fail(path, f"sizes[{number}]", value, "must be [width, height]")
    if not all(map(_is_whole, value)):
        _fail(path, f"sizes[{number}]", value, "must be two whole numbers, 1 or more")
    return Size(*value)


def _fail(path: Path, key: str, value: object, why: str) -> NoReturn:
    shown = json.dumps(value, ensure_ascii=False)
    raise EaselJsonError(f"{path}: {key} = {shown[:100]}: {why}")
