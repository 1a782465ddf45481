"""The rooms of the sdxl package import in one direction."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import easel_worker.sdxl

SDXL = Path(easel_worker.sdxl.__file__).parent
PACKAGE = "easel_worker.sdxl"

ROOMS = ("kernels", "model", "quantization", "samplers", "folder", "lora", "serving")
"""From the lowest up. A room imports from itself and from those before it."""


def imported(file: Path) -> Iterator[str]:
    """The modules that a file names, wherever in it; of `from a import b` both a and a.b."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)


def above(file: Path, room: str) -> list[str]:
    """What a file of a room imports from rooms above it."""
    higher = ROOMS[ROOMS.index(room) + 1 :]
    prefixes = tuple(f"{PACKAGE}.{each}" for each in higher)
    return sorted({name for name in imported(file) if name.startswith(prefixes)})


def test_every_module_is_in_a_known_room() -> None:
    rooms = {path.name for path in SDXL.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set(ROOMS)
    assert [path.name for path in SDXL.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_imports_one_above_it(room: str) -> None:
    found = {str(file.relative_to(SDXL)): above(file, room) for file in SDXL.glob(f"{room}/*.py")}
    assert found
    assert {file: names for file, names in found.items() if names} == {}


def test_an_import_from_above_is_found(tmp_path: Path) -> None:
    file = tmp_path / "layers.py"
    file.write_text(
        "from easel_worker.sdxl import serving\n"
        "from easel_worker.sdxl.kernels import chip\n"
        "def lazily():\n"
        "    import easel_worker.sdxl.folder.hub\n"
    )
    assert above(file, "model") == ["easel_worker.sdxl.folder.hub", "easel_worker.sdxl.serving"]
