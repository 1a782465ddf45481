"""The scorer accepts correctly drawn scenes and reports what is wrong in others."""

from dataclasses import replace

import numpy as np
import pytest

from demo.evaluation.held_out import held_out_captions
from demo.evaluation.measure import measure
from demo.evaluation.report import Image, Report, evaluate
from demo.evaluation.score import Score, score
from demo.scenes.captions import Caption
from demo.scenes.drawing import draw
from demo.scenes.sampling import is_held_out
from demo.scenes.scene import Object, Scene

SINGLE = Scene("blue", (Object("circle", "red", 40, 40, 24),))
PAIR = Scene("white", (Object("circle", "red", 32, 60, 20), Object("square", "green", 92, 70, 24)))


def judge(caption: Caption, drawn: Scene) -> Score:
    return score(caption, measure(draw(drawn)))


def test_correctly_drawn_scenes_score_100_percent() -> None:
    captions = held_out_captions(200)
    pictures = {said.text: draw(said.scene) for said in captions}
    report = evaluate(lambda prompts, seeds: [pictures[p] for p in prompts], captions)
    assert report.mistakes() == ""
    assert report.meets_targets()
    assert report.counts("colour") == (300, 300)
    assert "| everything | 100.0 % (200/200) |" in report.table()


def test_held_out_captions_are_fixed_distinct_and_held_out() -> None:
    captions = held_out_captions(200)
    assert captions == held_out_captions(200)
    assert len({said.text for said in captions}) == 200
    assert all(is_held_out(said.scene) for said in captions)
    assert all(said.background for said in captions)
    assert sum(len(said.scene.objects) == 2 for said in captions) == 100


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"shape": "square"}, ["shape"]),
        ({"shape": "triangle"}, ["shape"]),
        ({"colour": "purple"}, ["colour"]),
        ({"half": 40, "cx": 48, "cy": 48}, ["size"]),
        ({"cx": 96}, ["position"]),
        ({"cy": 64}, ["position"]),
    ],
)
def test_reports_only_the_wrong_attribute(change: dict[str, object], wrong: list[str]) -> None:
    said = Caption("", SINGLE, "blue", "small", ("left", "top"))
    drawn = Scene("blue", (replace(SINGLE.objects[0], **change),))
    assert judge(said, SINGLE).right
    assert judge(said, drawn).wrong == wrong


def test_reports_a_wrong_background() -> None:
    said = Caption("", SINGLE, "blue")
    assert judge(said, Scene("black", SINGLE.objects)).wrong == ["background"]


@pytest.mark.parametrize(
    ("relation", "right"), [("left", True), ("right", False), ("below", False)]
)
def test_scores_the_relation(relation: str, right: bool) -> None:
    said = Caption("", PAIR, "white", relation=relation)
    assert judge(said, PAIR).verdicts["relation"] == (right,)


def test_swapped_colours_give_a_wrong_relation_and_wrong_shapes() -> None:
    first, second = PAIR.objects
    swapped = Scene("white", (replace(first, colour="green"), replace(second, colour="red")))
    said = Caption("", PAIR, "white", relation="left")
    assert judge(said, swapped).wrong == ["shape", "relation"]


def test_missing_and_extra_objects_give_a_wrong_count() -> None:
    said = Caption("", PAIR, "white", relation="left")
    lone = judge(said, Scene("white", PAIR.objects[:1]))
    assert lone.verdicts["count"] == (False,)
    assert lone.verdicts["colour"] == (True, False)
    assert lone.verdicts["relation"] == (False,)
    assert judge(Caption("", SINGLE, "blue"), Scene("blue", PAIR.objects)).wrong


def test_a_blob_has_no_known_shape() -> None:
    image = draw(SINGLE)
    image[40:100, 40:46] = draw(SINGLE)[40, 40]
    assert measure(image).objects[0].shape is None


def test_noise_scores_nothing_right() -> None:
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    assert not score(Caption("", SINGLE, "blue"), measure(image)).right


def test_faint_noise_and_other_image_sizes_do_not_change_the_score() -> None:
    noise = np.random.default_rng(0).normal(0, 12, (128, 128, 3))
    image = np.clip(draw(PAIR) + noise, 0, 255).astype(np.uint8)
    assert score(Caption("", PAIR, "white", relation="left"), measure(image)).right


def test_rejects_an_array_that_is_no_rgb_picture() -> None:
    with pytest.raises(ValueError, match="RGB picture"):
        measure(np.zeros((128, 128), np.uint8))


def test_contact_sheet_frames_wrong_pictures() -> None:
    said = Caption("", SINGLE, "blue")
    images: list[Image] = [draw(SINGLE), draw(Scene("black", SINGLE.objects))]
    report = Report([score(said, measure(image)) for image in images], images)
    sheet = report.contact_sheet()
    assert sheet.shape == (136, 20 * 136, 3)
    assert np.array_equal(sheet[4:132, 4:132], images[0])
    assert tuple(sheet[2, 60]) != tuple(sheet[2, 136 + 60])
    assert report.mistakes().startswith("1.02 background")
