"""The size of an image."""

from typing import NamedTuple


class Size(NamedTuple):
    """An image's size in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"
