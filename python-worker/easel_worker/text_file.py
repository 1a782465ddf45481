"""Text files of a model folder must be UTF-8, with or without a byte order mark.

The gateway applies the same rule (src/tokenizer/text-file.ts). Test cases for both:
test/tokenizer/golden/folders.json.
"""

import json
from pathlib import Path
from typing import Any, NoReturn

BYTE_ORDER_MARK = "\ufeff"


class TextFileError(ValueError):
    """A file is missing or invalid. The message names the file."""


def read_text(path: Path) -> str:
    """The file's text, with its line ends unchanged.

    Raises:
        OSError: the file cannot be read.
        TextFileError: it is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8").removeprefix(BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        raise TextFileError(f"{path} is not UTF-8: save it as UTF-8") from error


def read_object(path: Path, *, plain_numbers: bool = False) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: the file.
        plain_numbers: refuse NaN and Infinity, as the gateway does. diffusers writes them.

    Raises:
        OSError: the file cannot be read.
        TextFileError: it is not a JSON object in UTF-8.
    """
    text = read_text(path)
    try:
        value = json.loads(text, parse_constant=_refuse if plain_numbers else None)
    except (ValueError, RecursionError) as error:
        raise TextFileError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise TextFileError(f"{path} must hold a JSON object")
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
