"""Scenes, captions and drawing, which training and evaluation share."""

import numpy as np
import pytest

from demo.scenes.captions import caption
from demo.scenes.drawing import coverage, draw
from demo.scenes.sampling import held_out_scene, is_held_out, training_scene
from demo.scenes.scene import IMAGE_SIZE, PALETTE, SHAPES, Object, Scene


def test_draws_object_and_background_in_palette_colours() -> None:
    image = draw(Scene("blue", (Object("circle", "red", 64, 64, 32),)))
    assert tuple(image[64, 64]) == PALETTE["red"]
    assert tuple(image[2, 2]) == PALETTE["blue"]
    assert image.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)


@pytest.mark.parametrize(
    ("shape", "share"), [("circle", np.pi / 4), ("square", 1), ("triangle", 0.5)]
)
def test_coverage_has_the_area_of_the_shape(shape: str, share: float) -> None:
    covered = coverage(Object(shape, "red", 64, 60, 40))
    assert covered.sum() == pytest.approx(share * 80 * 80, rel=0.01)


@pytest.mark.parametrize("shape", ["circle", "triangle"])
def test_slanted_edges_are_anti_aliased(shape: str) -> None:
    covered = coverage(Object(shape, "red", 64, 64, 40))
    assert ((covered > 0.05) & (covered < 0.95)).sum() > 50


@pytest.mark.parametrize("pair_share", [0.0, 1.0])
def test_random_scenes_fit_and_do_not_touch(pair_share: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        scene = training_scene(rng, pair_share)
        covered = np.stack([coverage(item) > 0 for item in scene.objects])
        inside = covered[:, 2:-2, 2:-2].sum()
        assert inside == covered.sum(), scene
        assert covered.sum(0).max() == 1, scene
        colours = [scene.background, *(item.colour for item in scene.objects)]
        assert len(set(colours)) == len(colours)


def test_every_relation_and_shape_occurs() -> None:
    rng = np.random.default_rng(2)
    scenes = [training_scene(rng, 1.0) for _ in range(200)]
    assert {scene.relation for scene in scenes} == {"left", "right", "above", "below"}
    assert {scene.objects[0].shape for scene in scenes} == set(SHAPES)


def test_relation_is_along_the_longer_axis() -> None:
    first, second = Object("circle", "red", 30, 60, 16), Object("square", "green", 90, 70, 16)
    assert Scene("white", (first, second)).relation == "left"
    assert Scene("white", (second, first)).relation == "right"


def test_training_never_sees_held_out_combinations() -> None:
    rng = np.random.default_rng(3)
    kept = [held_out_scene(rng, 0.5) for _ in range(200)]
    seen = [training_scene(rng, 0.5) for _ in range(400)]
    assert all(is_held_out(scene) for scene in kept)
    assert not any(is_held_out(scene) for scene in seen)
    kept_singles = {_triple(scene) for scene in kept if len(scene.objects) == 1}
    assert kept_singles
    assert kept_singles.isdisjoint(_triple(s) for s in seen)


def test_hold_out_ignores_place_size_and_order() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        scene = held_out_scene(rng, 1.0)
        moved = Scene(
            scene.background,
            tuple(Object(o.shape, o.colour, 64, 64, 16) for o in reversed(scene.objects)),
        )
        assert is_held_out(moved)


def test_what_a_caption_does_not_state_is_near_the_default() -> None:
    rng = np.random.default_rng(8)
    for _ in range(300):
        said = caption(training_scene(rng, 0.5), rng)
        first, *others = said.scene.objects
        if not others and said.size is None:
            assert 24 < first.half < 36
        if not others and said.position == (None, None):
            assert max(abs(first.cx - 64), abs(first.cy - 64)) <= 8
        if others and said.relation is None:
            left, right = (said.scene.objects[i] for i in said.mentioned)
            assert left.cx < right.cx


def test_captions_name_what_they_state() -> None:
    rng = np.random.default_rng(5)
    for _ in range(500):
        said = caption(training_scene(rng, 0.5), rng)
        assert all(item.colour in said.text for item in said.scene.objects)
        if said.background:
            assert said.background in said.text
        assert said.relation in (None, said.scene.relation)


def test_caption_wording_covers_the_plain_forms() -> None:
    rng = np.random.default_rng(6)
    single = Scene("blue", (Object("circle", "red", 64, 64, 28),))
    small = Scene("blue", (Object("circle", "red", 64, 64, 20),))
    corner = Scene("blue", (Object("circle", "red", 36, 36, 28),))
    pair = Scene(
        "white", (Object("circle", "red", 32, 64, 20), Object("square", "green", 96, 64, 20))
    )
    singles = {caption(single, rng).text for _ in range(800)}
    smalls = {caption(small, rng).text for _ in range(800)}
    corners = {caption(corner, rng).text for _ in range(800)}
    pairs = {caption(pair, rng).text for _ in range(5000)}
    assert "a red circle on a blue background" in singles
    assert "a small red circle on a blue background" in smalls
    assert "a red circle in the top left corner on a blue background" in corners
    assert "a red circle and a green square on a white background" in pairs
    assert "a red circle to the left of a green square on a white background" in pairs
    assert "a green square to the right of a red circle on a white background" in pairs


def _triple(scene: Scene) -> tuple[str, str, str]:
    return scene.objects[0].shape, scene.objects[0].colour, scene.background
