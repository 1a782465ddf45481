"""The operator's folder of LoRAs: the names of its files, and what fits into HELLO."""

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from easel_worker.engine import Lora

MAX_LISTED = 1000
MAX_LISTED_BYTES = 512 * 1024
"""HELLO may have 1 MiB, and the rest of it takes a few kB."""

_NAME = re.compile(r"[^<>:\x00-\x1f]{1,200}")


def lora_files(folder: Path) -> dict[str, Path]:
    """The `.safetensors` files in a folder and its subfolders by name, in order of the names.

    A file's name is its path without the ending, such as `styles/ink`. Links to files are
    followed, links to folders are not. Files whose name a prompt's tag could not hold are left out.
    """
    files = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in folder.rglob("*.safetensors")
        if path.is_file()
    }
    return {name: files[name] for name in sorted(files) if is_name(name)}


def is_name(text: str) -> bool:
    """Whether a LoRA can have this name: see `values.LoraName`; lone surrogates cannot be sent."""
    return _NAME.fullmatch(text) is not None and text.isprintable()


def fitting(loras: Iterable[Lora]) -> tuple[Lora, ...]:
    """The first of these LoRAs that HELLO has room for."""
    listed: list[Lora] = []
    room = MAX_LISTED_BYTES
    for lora in loras:
        room -= len(msgspec.json.encode(lora)) + 1
        if room < 0 or len(listed) == MAX_LISTED:
            break
        listed.append(lora)
    return tuple(listed)
