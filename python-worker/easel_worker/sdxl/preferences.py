"""What a model wants when a request does not say: `easel.json` in its folder, or SDXL base's."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from easel_worker.engine import Defaults
from easel_worker.sdxl.programs import Size

FILE = "easel.json"

_SDXL_BASE: dict[str, Any] = {
    "width": 1024,
    "height": 1024,
    "num_inference_steps": 40,
    "guidance_scale": 5.0,
}


class PreferencesError(ValueError):
    """easel.json says something that we do not understand."""


@dataclass(frozen=True)
class Preferences:
    """Defaults of requests, and the sizes to compile for; the default size is the first."""

    defaults: Defaults
    sizes: tuple[Size, ...]


def read_preferences(folder: Path, scheduler: str) -> Preferences:
    """Read easel.json: {"defaults": {...}, "sizes": [[width, height], ...]}, all optional.

    Args:
        folder: the model.
        scheduler: the default where the file does not name one.

    Raises:
        PreferencesError: an unknown key, or a value that is no size.
    """
    path = folder / FILE
    values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    _only(path, values, {"defaults", "sizes"})
    given = values.get("defaults", {})
    _only(path, given, {item.name for item in fields(Defaults)})
    defaults = Defaults(**(_SDXL_BASE | {"scheduler": scheduler} | given))
    first = Size(defaults.width, defaults.height)
    others = [_size(path, size) for size in values.get("sizes", [])]
    return Preferences(defaults, tuple(dict.fromkeys([first, *others])))


def _only(path: Path, values: dict[str, Any], known: set[str]) -> None:
    for key in values:
        if key not in known:
            raise PreferencesError(f"{path}: unknown key {key!r}: use {', '.join(sorted(known))}")


def _size(path: Path, value: Any) -> Size:
    match value:
        case [int(width), int(height)]:
            return Size(width, height)
    raise PreferencesError(f"{path}: {value!r} is no size: write [width, height]")
