"""Scaling latents. `parity.pipeline` compares it with torch, in whole images and by itself."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from easel_worker.sdxl.serving.latent_scaling import scaled
from easel_worker.values import Upscaler

UPSCALERS: tuple[Upscaler, ...] = get_args(Upscaler)
upscalers, sides = st.sampled_from(UPSCALERS), st.integers(1, 40)


def latents(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((height, width, 4), dtype=np.float32)


@given(upscaler=upscalers, old=st.tuples(sides, sides), new=st.tuples(sides, sides))
def test_equal_latents_stay_equal(
    upscaler: Upscaler, old: tuple[int, int], new: tuple[int, int]
) -> None:
    made = scaled(np.full((*old, 4), 1.5, np.float32), *new, upscaler)
    assert made.shape == (*new, 4)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, 1.5, rtol=1e-5)


@given(upscaler=upscalers, size=st.tuples(sides, sides))
def test_the_same_size_changes_nothing(upscaler: Upscaler, size: tuple[int, int]) -> None:
    given_latents = latents(*size)
    np.testing.assert_allclose(scaled(given_latents, *size, upscaler), given_latents, atol=1e-6)


@given(upscaler=upscalers, old=st.tuples(sides, sides), new=st.tuples(sides, sides))
def test_both_axes_are_scaled_alike(
    upscaler: Upscaler, old: tuple[int, int], new: tuple[int, int]
) -> None:
    small = latents(*old)
    turned = scaled(small.swapaxes(0, 1), *new[::-1], upscaler).swapaxes(0, 1)
    np.testing.assert_allclose(scaled(small, *new, upscaler), turned, atol=1e-5)


@pytest.mark.parametrize(
    ("upscaler", "expected"),
    [
        ("latent", [0, 0.25, 0.75, 1.25, 1.75, 2]),
        ("latent-antialiased", [0, 0.25, 0.75, 1.25, 1.75, 2]),
        (
            "latent-bicubic",
            [-0.10546875, 0.19140625, 0.66796875, 1.33203125, 1.80859375, 2.10546875],
        ),
        (
            "latent-bicubic-antialiased",
            [-0.0882353, 0.1678832, 0.7099237, 1.2900763, 1.8321168, 2.0882353],
        ),
        ("latent-nearest", [0, 0, 1, 1, 2, 2]),
        ("latent-nearest-exact", [0, 0, 1, 1, 2, 2]),
    ],
)
def test_three_places_become_six(upscaler: Upscaler, expected: list[float]) -> None:
    """The numbers are torch 2.13's."""
    ramp = np.arange(3, dtype=np.float32)[None, :, None]
    np.testing.assert_allclose(scaled(ramp, 1, 6, upscaler)[0, :, 0], expected, atol=1e-6)


def test_the_two_nearest_ones_differ_where_the_ratio_is_not_whole() -> None:
    ramp = np.arange(5, dtype=np.float32)[None, :, None]
    assert scaled(ramp, 1, 3, "latent-nearest")[0, :, 0].tolist() == [0, 1, 3]
    assert scaled(ramp, 1, 3, "latent-nearest-exact")[0, :, 0].tolist() == [0, 2, 4]
