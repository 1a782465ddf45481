"""Compares a caption with what its picture shows."""

from collections.abc import Mapping
from dataclasses import dataclass

from demo.evaluation.measure import Found, Measured
from demo.scenes.captions import Caption
from demo.scenes.scene import IMAGE_SIZE

ATTRIBUTES = ("background", "colour", "shape", "relation", "position", "size", "count")
_CLEAR = 8.0  # pixels between two centres, or between a centre and the middle of the picture
_CENTRAL = 16.0  # pixels from the middle that "in the middle" allows
_SIZE_LIMIT = 60  # pixels; small objects are drawn up to 48, large ones from 72


@dataclass(frozen=True, slots=True)
class Score:
    """Verdicts by attribute: colour and shape one per object, others one, none if not stated."""

    caption: Caption
    verdicts: Mapping[str, tuple[bool, ...]]

    @property
    def right(self) -> bool:
        """Whether the picture shows everything that the caption states."""
        return all(all(verdict) for verdict in self.verdicts.values())

    @property
    def wrong(self) -> list[str]:
        """The attributes with at least one wrong verdict."""
        return [name for name, verdict in self.verdicts.items() if not all(verdict)]


def score(caption: Caption, seen: Measured) -> Score:
    """Score a measured picture against its caption."""
    found = _match(caption, seen)
    wanted = caption.scene.objects
    verdicts: dict[str, tuple[bool, ...]] = {
        "colour": tuple(
            f is not None and f.colour == w.colour for f, w in zip(found, wanted, strict=True)
        ),
        "shape": tuple(
            f is not None and f.shape == w.shape for f, w in zip(found, wanted, strict=True)
        ),
        "count": (len(seen.objects) == len(wanted),),
    }
    if caption.background:
        verdicts["background"] = (seen.background == caption.background,)
    if caption.relation:
        verdicts["relation"] = (all(verdicts["colour"]) and _related(caption.relation, found),)
    if caption.size:
        verdicts["size"] = (_sized(caption.size, found[0]),)
    if any(caption.position):
        verdicts["position"] = (_placed(caption.position, found[0]),)
    return Score(caption, verdicts)


def _match(caption: Caption, seen: Measured) -> list[Found | None]:
    """Pair each stated object with a measured one: by colour if possible, else any left over."""
    left = list(seen.objects)
    found: list[Found | None] = []
    for item in caption.scene.objects:
        fitting = next((f for f in left if f.colour == item.colour), None)
        found.append(fitting)
        if fitting:
            left.remove(fitting)
    return [f if f or not left else left.pop(0) for f in found]


def _related(relation: str, found: list[Found | None]) -> bool:
    first, second = found
    if first is None or second is None:
        return False
    dx, dy = first.cx - second.cx, first.cy - second.cy
    along = {"left": -dx, "right": dx, "above": -dy, "below": dy}[relation]
    return along >= _CLEAR


def _sized(size: str, item: Found | None) -> bool:
    if item is None:
        return False
    longest = max(item.width, item.height)
    return longest < _SIZE_LIMIT if size == "small" else longest > _SIZE_LIMIT


def _placed(position: tuple[str | None, str | None], item: Found | None) -> bool:
    if item is None:
        return False
    offsets = (item.cx - IMAGE_SIZE / 2, item.cy - IMAGE_SIZE / 2)
    return all(_on_side(side, offset) for side, offset in zip(position, offsets, strict=True))


def _on_side(side: str | None, offset: float) -> bool:
    if side in ("left", "top"):
        return offset <= -_CLEAR
    if side in ("right", "bottom"):
        return offset >= _CLEAR
    return side is None or abs(offset) <= _CENTRAL
