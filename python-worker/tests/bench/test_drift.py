"""PSNR and forecasts against hand-computed values; variants against the engine's options."""

import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from bench import forecasts
from bench.drift import psnr, variants
from bench.forecasts import polynomial


def test_psnr_follows_its_definition() -> None:
    black = np.zeros((2, 2, 3), np.uint8)
    assert math.isinf(psnr(black, black))
    assert psnr(black, np.full_like(black, 255)) == pytest.approx(0.0)
    one = black.copy()
    one[0, 0, 0] = 1
    assert psnr(one, black) == pytest.approx(10 * math.log10(255**2 * 12))


def test_only_the_first_variant_changes_nothing(tmp_path: Path) -> None:
    plain, *others = variants(tmp_path)
    assert not plain.asked
    names = [each.name for each in [plain, *others]]
    assert len(set(names)) == len(names)
    for place, other in enumerate(others, start=1):
        assert other.beside in names[:place]
        assert (other.lora is None) == (other.options.loras is None)
        assert other.asked or other.options != plain.options
        interval = other.asked.get("cache_interval", 1)
        assert interval <= other.options.max_cache_interval


def test_a_forecast_is_the_polynomial_through_its_points() -> None:
    def points(*places: float) -> list[tuple[float, jnp.ndarray]]:
        return [(x, jnp.array([2.0, x, x * x])) for x in places]

    assert polynomial(points(3), 7.0).tolist() == [2.0, 3.0, 9.0]
    assert polynomial(points(0, 2), 3.0).tolist() == [2.0, 3.0, 6.0]
    assert polynomial(points(0, 1, 2), 5.0).tolist() == [2.0, 5.0, 25.0]


def test_trials_of_cached_steps_are_compiled_for() -> None:
    names = [each.name for each in forecasts.variants()]
    assert len(set(names)) == len(names)
    for each in forecasts.variants():
        assert each.asked.get("cache_interval", 1) <= each.options.max_cache_interval
