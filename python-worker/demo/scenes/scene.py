"""A picture's contents. Lengths are pixels of a 128x128 picture, x to the right, y down."""

from dataclasses import dataclass

IMAGE_SIZE = 128

# Well separated in RGB. No entry lies between two others, so an anti-aliased edge never matches
# a third colour.
PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (226, 30, 36),
    "green": (24, 158, 60),
    "blue": (34, 60, 226),
    "yellow": (250, 216, 30),
    "purple": (150, 40, 190),
    "cyan": (40, 210, 226),
    "black": (16, 16, 16),
    "white": (250, 250, 250),
}
COLOURS: tuple[str, ...] = tuple(PALETTE)
SHAPES: tuple[str, ...] = ("circle", "square", "triangle")
RELATIONS: tuple[str, ...] = ("left", "right", "above", "below")


@dataclass(frozen=True, slots=True)
class Object:
    """One filled shape inside the square from (cx - half, cy - half) to (cx + half, cy + half)."""

    shape: str
    colour: str
    cx: int
    cy: int
    half: int

    @property
    def size_word(self) -> str | None:
        """ "small", "large", or None for the sizes in between."""
        if self.half <= 24:
            return "small"
        return "large" if self.half >= 36 else None

    @property
    def position(self) -> tuple[str | None, str | None]:
        """The centre's position: ("left" | "center" | "right", "top" | "center" | "bottom").

        None between two of these, where no word is clearly right.
        """
        return _third(self.cx, ("left", "center", "right")), _third(
            self.cy, ("top", "center", "bottom")
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """One or two objects that do not touch, on a background of another colour."""

    background: str
    objects: tuple[Object, ...]

    @property
    def relation(self) -> str | None:
        """The first object's position relative to the second; None for a single object."""
        if len(self.objects) != 2:
            return None
        first, second = self.objects
        dx, dy = first.cx - second.cx, first.cy - second.cy
        if abs(dx) > abs(dy):
            return "left" if dx < 0 else "right"
        return "above" if dy < 0 else "below"


def _third(centre: int, names: tuple[str, str, str]) -> str | None:
    if centre <= 48:
        return names[0]
    if centre >= 80:
        return names[2]
    return names[1] if 56 <= centre <= 72 else None
