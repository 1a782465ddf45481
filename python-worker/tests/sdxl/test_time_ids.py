"""The sizes that rows are conditioned on, in the order and with the defaults of diffusers."""

from dataclasses import replace

import numpy as np

from easel_worker.engine import ImageSpec, Tokens
from easel_worker.sdxl.serving.time_ids import own_size, time_ids, time_ids_with_scores
from easel_worker.values import Size

TEXT = Tokens((0,), (0,))
SPEC = ImageSpec(TEXT, None, 4, 5.0, "euler", width=640, height=384, seed=0)


def test_the_default_is_the_images_own_size() -> None:
    negative, positive = time_ids(SPEC)
    np.testing.assert_array_equal(positive, [384, 640, 0, 0, 384, 640])
    np.testing.assert_array_equal(negative, positive)
    np.testing.assert_array_equal(own_size(Size(640, 384)), positive)


def test_the_negative_row_has_the_prompts_sizes_unless_both_are_given() -> None:
    spec = replace(SPEC, original_size=(1, 2), crops_coords_top_left=(3, 4), target_size=(5, 6))
    for ids in time_ids(spec):
        np.testing.assert_array_equal(ids, [1, 2, 3, 4, 5, 6])
    sized = replace(spec, negative_original_size=(7, 8), negative_target_size=(9, 10))
    negative, positive = time_ids(sized)
    np.testing.assert_array_equal(negative, [7, 8, 0, 0, 9, 10])
    np.testing.assert_array_equal(positive, [1, 2, 3, 4, 5, 6])
    cropped, _ = time_ids(replace(sized, negative_crops_coords_top_left=(11, 12)))
    np.testing.assert_array_equal(cropped, [7, 8, 11, 12, 9, 10])


def test_a_score_has_the_place_of_the_target_size() -> None:
    negative, positive = time_ids_with_scores(SPEC)
    np.testing.assert_array_equal(positive, [384, 640, 0, 0, 6.0])
    np.testing.assert_array_equal(negative, [384, 640, 0, 0, 2.5])
    spec = replace(SPEC, original_size=(1, 2), crops_coords_top_left=(3, 4), target_size=(5, 6))
    scored = replace(spec, aesthetic_score=7.5, negative_aesthetic_score=0.0)
    negative, positive = time_ids_with_scores(scored)
    np.testing.assert_array_equal(positive, [1, 2, 3, 4, 7.5])
    np.testing.assert_array_equal(negative, [1, 2, 0, 0, 0.0])  # not the prompt's crop
    sized = replace(scored, negative_original_size=(7, 8), negative_target_size=(9, 10))
    cropped, _ = time_ids_with_scores(replace(sized, negative_crops_coords_top_left=(11, 12)))
    np.testing.assert_array_equal(cropped, [7, 8, 11, 12, 0.0])
