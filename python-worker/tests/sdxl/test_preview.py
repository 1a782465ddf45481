"""The fit of colours to latents."""

import numpy as np
from numpy.typing import NDArray

from easel_worker.engine import Pixels
from easel_worker.sdxl.preview import fit_preview

SHAPE = (6, 10, 4)
MATRIX = np.array([[20, 0, 0], [0, 15, 0], [0, 0, 10], [5, 5, -5]], np.float32)


def linear_decoder(latents: NDArray[np.float32]) -> Pixels:
    """A decoder that is what the fit assumes, eight pixels a latent."""
    colours = np.clip(latents @ MATRIX + 128, 0, 255).round().astype(np.uint8)
    return colours.repeat(8, axis=0).repeat(8, axis=1)


def test_a_linear_decoder_is_found() -> None:
    preview = fit_preview(linear_decoder, SHAPE)
    latents = np.random.default_rng(1).standard_normal(SHAPE, dtype=np.float32)
    picture = preview.picture(latents)
    assert picture.shape == (6, 10, 3)
    assert picture.dtype == np.uint8
    exact = np.clip(latents @ MATRIX + 128, 0, 255)
    assert np.abs(picture - exact).max() <= 2


def test_colours_do_not_wrap() -> None:
    preview = fit_preview(linear_decoder, SHAPE)
    assert preview.picture(np.full(SHAPE, 100, np.float32))[..., 0].min() == 255
    assert preview.picture(np.full(SHAPE, -100, np.float32))[..., 0].max() == 0
