"""An operator's folder of files that requests name: their names, and what fits into HELLO."""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from easel_worker.pickles import PICKLES

T = TypeVar("T")

ENDING = ".safetensors"
MAX_DEPTH = 8
"""How many folders deep files are looked for."""

MAX_NAME = 200
MAX_LISTED = 1000
MAX_LISTED_BYTES = 512 * 1024
MAX_LISTED_EMBEDDING_BYTES = 256 * 1024
MAX_LISTED_CONTROLS = 100
MAX_LISTED_CONTROL_BYTES = 64 * 1024
"""HELLO may have 1 MiB, and what is no list takes a few kB."""

_NAME = re.compile(rf"[^<>:\x00-\x1f]{{1,{MAX_NAME}}}")


def named_files(folder: Path, say: Callable[[str], None] = lambda _: None) -> dict[str, Path]:
    """The `.safetensors` files in a folder and its subfolders by name, in order of the names.

    A file's name is its path without the ending, such as `styles/ink`. A link to a folder above is
    not followed again. Hidden files are left out, so a mounted ConfigMap, whose files are links
    into hidden folders, has each file once.

    Args:
        folder: the outermost folder.
        say: called with a line for what is left out, except hidden and other files.
    """
    files = {
        path.relative_to(folder).as_posix().removesuffix(ENDING): path
        for path in _files(folder, (), say)
    }
    for name, path in files.items():
        if not is_name(name):
            say(
                f"{path!r} is left out: its name is longer than {MAX_NAME} characters, or "
                "has one that a prompt's tag cannot hold"
            )
    return {name: files[name] for name in sorted(files) if is_name(name)}


def is_name(text: str) -> bool:
    """Whether a file can have this name: see `values.LoraName`; lone surrogates cannot be sent."""
    return _NAME.fullmatch(text) is not None and text.isprintable()


def fitting(described: Iterable[T], room: int, most: int = MAX_LISTED) -> tuple[T, ...]:
    """The first of these descriptions that HELLO has room for, in bytes as `codec` writes them."""
    listed: list[T] = []
    for each in described:
        room -= len(json.dumps(msgspec.to_builtins(each), separators=(",", ":"))) + 1
        if room < 0 or len(listed) == most:
            break
        listed.append(each)
    return tuple(listed)


def entries(folder: Path, say: Callable[[str], None]) -> list[Path]:
    """What a folder has, by name, without hidden entries; `say` is told if it cannot be read."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        say(f"{folder} cannot be read: {error.strerror or error}")
        return []
    return [folder / name for name in names if not name.startswith(".")]


def _files(
    folder: Path, above: tuple[tuple[int, int], ...], say: Callable[[str], None]
) -> Iterator[Path]:
    try:
        own = folder.stat()
        names = sorted(os.listdir(folder))
    except OSError as error:
        say(f"{folder} is left out: {error.strerror or error}")
        return
    here = (own.st_dev, own.st_ino)
    if here in above or len(above) > MAX_DEPTH:
        say(f"{folder} is left out: it is a loop of links, or too deep")
        return
    for name in names:
        path = folder / name
        if name.startswith("."):
            continue
        if path.is_dir():
            yield from _files(path, (*above, here), say)
        elif PICKLES.fullmatch(name):
            say(f"{path} is left out: loading it can run code; convert it to {ENDING}")
        elif name.endswith(ENDING):
            if path.is_file():
                yield path
            else:
                say(f"{path} is left out: it is no regular file, or a link to none")
