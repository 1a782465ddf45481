"""Captions as people would write them, each with the facts that it states."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from demo.scenes.scene import Object, Scene

_BACKGROUNDS = (
    "a {} background",
    "a {} background",
    "a {} background",
    "a {} backdrop",
    "{} background",
    "{}",
)
_WORDS: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "circle", "circle", "disc", "disk", "round circle"),
    "square": ("square", "square", "square", "square box", "box"),
    "triangle": ("triangle",),
    "small": ("small", "small", "little", "tiny"),
    "large": ("large", "large", "big", "huge"),
    "left": ("to the left of", "to the left of", "left of", "on the left of"),
    "right": ("to the right of", "to the right of", "right of", "on the right of"),
    "above": ("above", "above", "over", "on top of"),
    "below": ("below", "below", "under", "beneath", "underneath"),
    "middle": ("in the middle", "in the center", "in the centre"),
    "side left": ("on the left", "on the left side", "at the left"),
    "side right": ("on the right", "on the right side", "at the right"),
    "side top": ("at the top", "on the top", "near the top"),
    "side bottom": ("at the bottom", "on the bottom", "near the bottom"),
    "corner": ("in the {} corner", "in the {}", "at the {}"),
    "no relation": ("and", "and", "next to", "with"),
    "prefix": ("a picture of ", "an image of ", "a drawing of ", "a photo of ", "an icon of "),
}
_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
_SIDES = {"left": "side left", "right": "side right", "above": "side top", "below": "side bottom"}


@dataclass(frozen=True, slots=True)
class Caption:
    """A scene's caption with what it states; None for what it does not state.

    `relation` is always from the scene's first object to its second, in either word order.
    """

    text: str
    scene: Scene
    background: str | None
    size: str | None = None
    position: tuple[str | None, str | None] = (None, None)
    relation: str | None = None
    mentioned: tuple[int, ...] = (0,)


def caption(scene: Scene, rng: np.random.Generator, complete: bool = False) -> Caption:
    """Return a random caption of a scene; with `complete`, it always names the background."""
    said = _single(scene, rng) if len(scene.objects) == 1 else _pair(scene, rng)
    if not complete and rng.random() < 0.06:
        return said
    ground = _pick(rng, _BACKGROUNDS).format(scene.background)
    forms = ["{0} on {1}"] * 7 + ["{0} against {1}", "on {1}, {0}", "{1} with {0}"]
    if ground.endswith(("background", "backdrop")):
        forms += ["{0}, {1}"]
    form = _pick(rng, forms)
    if form.startswith("{0}") and rng.random() < 0.15:
        form = _pick(rng, _WORDS["prefix"]) + form
    text = form.format(said.text, ground)
    return replace(said, text=text, background=scene.background)


def _single(scene: Scene, rng: np.random.Generator) -> Caption:
    (item,) = scene.objects
    text = _noun(item, item.size_word, rng)
    position, where = _position(item, rng)
    return Caption(f"{text} {where}".strip(), scene, None, item.size_word, position)


def _pair(scene: Scene, rng: np.random.Generator) -> Caption:
    """State the relation, or name two objects in their order in the picture."""
    relation = scene.relation or ""
    chance = rng.random()
    bare = relation in ("left", "right") and chance < 0.3
    forward = relation == "left" if bare else rng.random() < 0.5
    order = (0, 1) if forward else (1, 0)
    first, second = (_noun(scene.objects[i], None, rng) for i in order)
    if bare:
        text = f"{first} {_pick(rng, _WORDS['no relation'])} {second}"
        return Caption(text, scene, None, mentioned=order)
    said = relation if forward else _OPPOSITE[relation]
    if chance < 0.45:
        sides = (_pick(rng, _WORDS[_SIDES[r]]) for r in (said, _OPPOSITE[said]))
        text = f"{first} {next(sides)} and {second} {next(sides)}"
    else:
        text = f"{first} {_pick(rng, _WORDS[said])} {second}"
    return Caption(text, scene, None, relation=relation, mentioned=order)


def _noun(item: Object, size: str | None, rng: np.random.Generator) -> str:
    words = [_pick(rng, _WORDS[size])] if size else []
    return " ".join(["a", *words, item.colour, _pick(rng, _WORDS[item.shape])])


def _position(item: Object, rng: np.random.Generator) -> tuple[tuple[str | None, str | None], str]:
    """Return the stated position and its words; the middle may be left out."""
    x, y = item.position
    if (x, y) == ("center", "center"):
        if rng.random() < 0.7:
            return (None, None), ""
        return (x, y), _pick(rng, _WORDS["middle"])
    x, y = (None if axis == "center" else axis for axis in (x, y))
    if x and y:
        name = f"{_pick(rng, (y, {'top': 'upper', 'bottom': 'lower'}[y]))} {x}"
        return (x, y), _pick(rng, _WORDS["corner"]).format(name)
    return (x, y), _pick(rng, _WORDS[f"side {x or y}"])


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
