"""Random scenes, and the hold-out: combinations that training never sees."""

import hashlib

import numpy as np

from demo_scenes.scene import COLOURS, GRID, IMAGE_SIZE, RELATIONS, SHAPES, Object, Scene

HELD_OUT_SHARE = 0.12
_MARGIN = 4  # pixels between an object and the border of the picture
_GAP = 8  # pixels between two objects
_SINGLE_HALVES = tuple(range(20, 45, GRID))
_PAIR_HALVES = (16, 20, 24)


def is_held_out(scene: Scene) -> bool:
    """Whether the scene shows a combination kept for evaluation.

    For every object the combination is (shape, its colour, background); for two objects also
    the unordered pair of (shape, colour). Decided by a stable hash, so it never changes.
    """
    names = [f"{item.shape} {item.colour} on {scene.background}" for item in scene.objects]
    if len(scene.objects) == 2:
        names.append(" and ".join(sorted(f"{o.shape} {o.colour}" for o in scene.objects)))
    return any(_hash_share(name) < HELD_OUT_SHARE for name in names)


def training_scene(rng: np.random.Generator, pair_share: float) -> Scene:
    """A random scene without held-out combinations; `pair_share` of them have two objects."""
    return _until(rng, pair_share, held_out=False)


def held_out_scene(rng: np.random.Generator, pair_share: float) -> Scene:
    """A random scene with a held-out combination."""
    return _until(rng, pair_share, held_out=True)


def _until(rng: np.random.Generator, pair_share: float, held_out: bool) -> Scene:
    make = _random_pair if rng.random() < pair_share else _random_single
    while is_held_out(scene := make(rng)) != held_out:
        pass
    return scene


def _random_single(rng: np.random.Generator) -> Scene:
    background, colour = rng.permutation(COLOURS)[:2]
    half = int(rng.choice(_SINGLE_HALVES))
    low, high = _MARGIN + half, IMAGE_SIZE - _MARGIN - half
    cx, cy = (_on_grid(rng, low, high) for _ in range(2))
    item = Object(str(rng.choice(SHAPES)), str(colour), cx, cy, half)
    return Scene(str(background), (item,))


def _random_pair(rng: np.random.Generator) -> Scene:
    """Two objects apart along one axis by more than along the other."""
    background, *colours = (str(c) for c in rng.permutation(COLOURS)[:3])
    halves = [int(rng.choice(_PAIR_HALVES)) for _ in range(2)]
    relation = str(rng.choice(RELATIONS))
    along = _apart(rng, halves)
    across = _close(rng, halves, max_difference=along[1] - along[0] - GRID)
    order = (0, 1) if relation in ("left", "above") else (1, 0)
    objects = []
    for which, place in enumerate(order):
        shape = str(rng.choice(SHAPES))
        # along[] is sorted; sizes belong to the place so that the gap stays what was drawn
        xy = (along[place], across[place])
        cx, cy = xy if relation in ("left", "right") else xy[::-1]
        objects.append(Object(shape, colours[which], cx, cy, halves[place]))
    return Scene(background, tuple(objects))


def _apart(rng: np.random.Generator, halves: list[int]) -> tuple[int, int]:
    first = _on_grid(
        rng, _MARGIN + halves[0], IMAGE_SIZE - _MARGIN - 2 * halves[1] - _GAP - halves[0]
    )
    second = _on_grid(rng, first + halves[0] + _GAP + halves[1], IMAGE_SIZE - _MARGIN - halves[1])
    return first, second


def _close(rng: np.random.Generator, halves: list[int], max_difference: int) -> tuple[int, int]:
    lows = [_MARGIN + half for half in halves]
    highs = [IMAGE_SIZE - _MARGIN - half for half in halves]
    first = _on_grid(rng, lows[0], highs[0])
    reach = min(max_difference, 24)
    second = _on_grid(rng, max(lows[1], first - reach), min(highs[1], first + reach))
    return first, second


def _on_grid(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(-(-low // GRID), high // GRID + 1)) * GRID


def _hash_share(name: str) -> float:
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
