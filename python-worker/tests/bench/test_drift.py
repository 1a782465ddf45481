"""PSNR against a hand-computed value, and the variants against the engine's options."""

import math
from pathlib import Path

import numpy as np
import pytest

from bench.drift import psnr, variants


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
