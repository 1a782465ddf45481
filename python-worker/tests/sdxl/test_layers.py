"""Cases that float32 parity with diffusers does not cover: bfloat16, masks, odd sizes."""

import jax.numpy as jnp
import numpy as np
import pytest

from easel_worker.sdxl.model import layers, vae
from easel_worker.sdxl.model.attention import Attend, KeyValue
from easel_worker.sdxl.model.config import VaeConfig
from easel_worker.sdxl.model.layers import Conv, GroupNorm, LayerNorm
from easel_worker.sdxl.model.resnet import Upsample


def test_norm_statistics_are_float32_for_bfloat16_inputs() -> None:
    """bfloat16 can represent 100 ± 0.5, but its variance needs more bits."""
    x = jnp.asarray(np.tile([100.0, 100.5], 512)[None], jnp.bfloat16)
    ones = jnp.ones(1024, jnp.bfloat16), jnp.zeros(1024, jnp.bfloat16)
    for norm in (LayerNorm(*ones, eps=1e-6), GroupNorm(*ones, groups=4, eps=1e-6)):
        normal = norm(x)
        assert normal.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(normal[0, :4]), [-1, 1, -1, 1], rtol=1e-2)


def test_group_norm_separates_rows_and_groups() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 5, 6), np.float32)
    weight, bias = rng.standard_normal((2, 6), np.float32)
    norm = GroupNorm(jnp.asarray(weight), jnp.asarray(bias), groups=2, eps=1e-3)
    normal = norm(jnp.asarray(x))
    for row in range(2):
        for group in (slice(0, 3), slice(3, 6)):
            part = x[row, ..., group]
            expected = (part - part.mean()) / np.sqrt(part.var() + 1e-3)
            expected = expected * weight[group] + bias[group]
            np.testing.assert_allclose(normal[row, ..., group], expected, atol=1e-5)


def test_masked_keys_have_no_effect() -> None:
    rng = np.random.default_rng(0)
    query, key, value = (jnp.asarray(a) for a in rng.standard_normal((3, 1, 4, 2, 8), np.float32))
    mask = jnp.tril(jnp.ones((4, 4), dtype=bool))
    attend = Attend()
    before = attend(query, KeyValue(key, value), mask=mask)
    later = KeyValue(key.at[:, 2:].set(9.0), value.at[:, 2:].set(9.0))
    after = attend(query, later, mask=mask)
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert not np.allclose(before[:, 2:], after[:, 2:])


def test_attention_does_not_overflow_in_bfloat16() -> None:
    large = jnp.full((1, 3, 1, 4), 1e18, jnp.bfloat16)
    out = Attend()(large, KeyValue(large, jnp.ones_like(large)))
    np.testing.assert_array_equal(np.float32(out), np.ones((1, 3, 1, 4)))


def test_upsample_repeats_each_pixel_and_crops() -> None:
    image = jnp.arange(6, dtype=jnp.float32).reshape(1, 2, 3, 1)
    identity = Conv(jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0), jnp.zeros(1))
    full = np.repeat(np.repeat(np.asarray(image), 2, axis=1), 2, axis=2)
    np.testing.assert_array_equal(layers.upsample_nearest(image), full)
    np.testing.assert_array_equal(Upsample(identity).measured(image, (3, 5)).image, full[:, :3, :5])


@pytest.mark.parametrize("flip", [True, False])
def test_sinusoid_at_timestep_999(flip: bool) -> None:
    """Against float64: the angle is up to 999 rad, where float32 is exact to 6e-5."""
    found = layers.sinusoid(jnp.asarray([999.0]), features=320, flip_sin_to_cos=flip, freq_shift=0)
    angles = 999.0 * 10000.0 ** (-np.arange(160) / 160)
    parts = [np.cos(angles), np.sin(angles)] if flip else [np.sin(angles), np.cos(angles)]
    np.testing.assert_allclose(found[0], np.concatenate(parts), atol=1e-4)


def test_unscale_latents() -> None:
    config = VaeConfig(3, 2, (8, 8), 1, 4, True, True, True, 0.5, None, None, True)
    latents = jnp.asarray([[[[1.0, 2.0]]]], jnp.bfloat16)
    plain = vae.unscale(config, latents)
    assert plain.dtype == jnp.float32
    np.testing.assert_array_equal(plain[0, 0, 0], [2.0, 4.0])
    shifted = VaeConfig(3, 2, (8, 8), 1, 4, True, True, True, 0.5, (1.0, -1.0), (2.0, 3.0), True)
    np.testing.assert_array_equal(vae.unscale(shifted, latents)[0, 0, 0], [5.0, 11.0])
