"""Random scenes, and the held-out combinations that training never sees."""

import hashlib

import numpy as np

from demo.scenes.scene import COLOURS, IMAGE_SIZE, RELATIONS, SHAPES, Object, Scene

HELD_OUT_SHARE = 0.12
_SIZES = {"small": (20, 24), None: (28, 32), "large": (36, 40)}
_PAIR_HALVES = (20, 24)
_JITTER = (-4, 0, 4)
_MIDDLE = IMAGE_SIZE // 2
_REACH = 60  # largest distance from the middle of the picture to an object's outer edge
_SIDE_OFFSET = 28  # a single object's centre, where its size leaves room
_PAIR_OFFSET = 32  # each centre of a pair, along the axis that separates the two


def is_held_out(scene: Scene) -> bool:
    """Return whether the scene shows a combination that is kept for evaluation.

    Each object is the combination (shape, colour, background); two objects are also
    the unordered pair of their (shape, colour). A stable hash decides, so it never changes.
    """
    names = [f"{item.shape} {item.colour} on {scene.background}" for item in scene.objects]
    if len(scene.objects) == 2:
        names.append(" and ".join(sorted(f"{o.shape} {o.colour}" for o in scene.objects)))
    return any(_hash_share(name) < HELD_OUT_SHARE for name in names)


def training_scene(rng: np.random.Generator, pair_share: float) -> Scene:
    """Return a random scene without held-out combinations; `pair_share` have two objects."""
    return _until(rng, pair_share, held_out=False)


def held_out_scene(rng: np.random.Generator, pair_share: float) -> Scene:
    """Return a random scene with a held-out combination."""
    return _until(rng, pair_share, held_out=True)


def _until(rng: np.random.Generator, pair_share: float, held_out: bool) -> Scene:
    make = _random_pair if rng.random() < pair_share else _random_single
    while is_held_out(scene := make(rng)) != held_out:
        pass
    return scene


def _random_single(rng: np.random.Generator) -> Scene:
    """One object: of medium size near the middle, unless the caption will state otherwise.

    What the caption does not state varies little, so that a small model need not choose a
    position before it can draw a shape.
    """
    background, colour = (str(c) for c in rng.permutation(COLOURS)[:2])
    sizes = list(_SIZES.values())
    half = int(rng.choice(sizes[1] if rng.random() < 0.4 else sizes[rng.choice([0, 2])]))
    offset = min(_SIDE_OFFSET, _REACH - half)
    sides = (0, 0) if rng.random() < 0.5 else rng.integers(-1, 2, 2)
    cx, cy = (_MIDDLE + int(side) * offset if side else _near(rng, _MIDDLE) for side in sides)
    return Scene(background, (Object(str(rng.choice(SHAPES)), colour, cx, cy, half),))


def _random_pair(rng: np.random.Generator) -> Scene:
    """Two objects of equal size on opposite sides of the middle along one axis."""
    background, *colours = (str(c) for c in rng.permutation(COLOURS)[:3])
    relation = str(rng.choice(RELATIONS))
    sign = -1 if relation in ("left", "above") else 1
    half, across = int(rng.choice(_PAIR_HALVES)), _near(rng, _MIDDLE)
    objects = []
    for colour, side in zip(colours, (sign, -sign), strict=True):
        along = _MIDDLE + side * _PAIR_OFFSET
        cx, cy = (along, across) if relation in ("left", "right") else (across, along)
        objects.append(Object(str(rng.choice(SHAPES)), colour, cx, cy, half))
    return Scene(background, tuple(objects))


def _near(rng: np.random.Generator, place: int) -> int:
    return place + int(rng.choice(_JITTER))


def _hash_share(name: str) -> float:
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
