"""The package that stands in for MaxDiffusion, and variants of it."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STANDIN = Path(__file__).parent / "standin"
UNET = Path("maxdiffusion/models/unet_2d_condition_flax.py")


def variant(folder: Path, old: str, new: str) -> Path:
    """Write a checkout whose UNet's file has one text replaced by another; return its folder."""
    source = folder / "src"
    shutil.copytree(STANDIN, source, ignore=shutil.ignore_patterns("__pycache__"))
    text = (source / UNET).read_text("utf-8")
    assert old in text
    (source / UNET).write_text(text.replace(old, new), "utf-8")
    return folder


@contextmanager
def forgotten() -> Iterator[None]:
    """No maxdiffusion is imported when the context is entered, and none stays imported."""
    path = list(sys.path)
    forget()
    try:
        yield
    finally:
        forget()
        sys.path[:] = path


def forget() -> None:
    """Let the next import read the package again."""
    for name in [each for each in sys.modules if each.split(".")[0] == "maxdiffusion"]:
        del sys.modules[name]
