"""Pictures for CLIP's vision encoder against Pillow."""

import numpy as np
import PIL
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from easel_worker.sdxl.serving.clip_pixels import DEVIATION, MEAN, clip_pixels

Pixels = NDArray[np.uint8]


def by_pillow(picture: Pixels, side: int) -> NDArray[np.float32]:
    """What transformers' CLIPImageProcessorPil does, in its order."""
    height, width, _ = picture.shape
    short, long = min(width, height), max(width, height)
    longer = int(side * long / short)
    size = (side, longer) if width <= height else (longer, side)
    resized = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    top, left = (resized.shape[0] - side) // 2, (resized.shape[1] - side) // 2
    cut = resized[top : top + side, left : left + side]
    scaled = (cut.astype(np.float64) * (1 / 255)).astype(np.float32)
    return (scaled - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)


def test_pillow_is_one_that_chooses_the_order_of_its_passes() -> None:
    """Older ones resize rows first, which rounds other pixels."""
    assert int(PIL.__version__.split(".")[0]) >= 13


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    side=st.sampled_from((14, 28, 224)),
    kind=st.sampled_from(("noise", "black and white", "flat")),
    seed=st.integers(0, 2**32 - 1),
)
@example(width=468, height=945, side=224, kind="noise", seed=0)
@example(width=945, height=468, side=224, kind="black and white", seed=0)
@example(width=1024, height=1024, side=224, kind="noise", seed=0)
@example(width=224, height=224, side=224, kind="noise", seed=0)
@example(width=1, height=1, side=224, kind="noise", seed=0)
@example(width=1024, height=1, side=14, kind="noise", seed=0)
def test_equals_pillow_to_the_bit(width: int, height: int, side: int, kind: str, seed: int) -> None:
    draw = np.random.default_rng(seed)
    picture = draw.integers(0, 256, (height, width, 3), np.uint8)
    if kind == "black and white":  # the filter overshoots at edges
        picture = np.where(picture < 128, 0, 255).astype(np.uint8)
    if kind == "flat":
        picture[:] = picture[0, 0]
    assert np.array_equal(clip_pixels(picture, side), by_pillow(picture, side))


def test_what_is_cut_off_takes_no_memory() -> None:
    """Resized whole, this strip would have 51 million pixels."""
    strip = np.random.default_rng(0).integers(0, 256, (1, 1024, 3), np.uint8)
    assert clip_pixels(strip, 224).shape == (224, 224, 3)


@pytest.mark.parametrize("transposed", [False, True])
def test_takes_any_layout_in_memory(transposed: bool) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    view = np.asfortranarray(picture) if transposed else picture
    assert np.array_equal(clip_pixels(view, 14), by_pillow(picture, 14))
