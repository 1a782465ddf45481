"""The trial's convolutions against exact ones, in plain JAX and by the interpreted kernel."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from bench.int8_convolution_kernel import convolve
from bench.int8_convolutions import (
    ROUNDINGS,
    Rounded,
    RoundedConv,
    Rounding,
    Watching,
    quantise,
    replaced,
    variants,
)
from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.model.int8 import LARGEST
from easel_worker.sdxl.model.layers import Conv
from easel_worker.sdxl.model.unet import UNet

DEMO = Path(__file__).parents[3] / "models" / "demo"
ALL = Rounding("all", shifted=True, resizing=True)


def random(*shape: int, seed: int = 0) -> Array:
    drawn = np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)
    return jnp.asarray(drawn)


def convolution(inputs: int, outputs: int) -> Conv:
    weight = random(3, 3, inputs, outputs, seed=1) * (9 * inputs) ** -0.5
    return Conv(weight, random(outputs, seed=2))


def rounded(conv: Conv, x: Array, rounding: Rounding) -> RoundedConv:
    return quantise(conv, jnp.max(jnp.abs(x), axis=(0, 1, 2)), rounding)


def error(found: Array, wanted: Array) -> float:
    off = np.asarray(found, np.float64) - np.asarray(wanted, np.float64)
    return float(np.sqrt(np.mean(off**2)) / np.std(np.asarray(wanted)))


def test_gains_and_a_moved_zero_each_lower_the_error() -> None:
    conv, x = convolution(48, 24), random(2, 8, 8, 48)
    x = jax.nn.silu(x * jnp.exp(random(48, seed=3)))
    per_tensor, gains, moved = (error(rounded(conv, x, each)(x), conv(x)) for each in ROUNDINGS[:3])
    assert 0 < moved < 0.8 * gains < 0.8 * per_tensor < 0.04


def test_a_moved_zero_uses_all_integers() -> None:
    x = jax.nn.silu(8 * random(1, 8, 8, 16))
    layer = rounded(convolution(16, 4), x, Rounding("", gains=False, shifted=True))
    integers = jnp.round(x * layer.gain + layer.zero)
    assert (float(integers.min()), float(integers.max())) == (-LARGEST, LARGEST)


@pytest.mark.parametrize("rounding", ROUNDINGS[1:3])
@pytest.mark.parametrize(("inputs", "outputs"), [(128, 130), (320, 320)])
def test_the_kernel_computes_the_same(rounding: Rounding, inputs: int, outputs: int) -> None:
    """Also beside, above and below the image, where zero is not the integer 0."""
    x = random(2, 3, 32, inputs).astype(jnp.bfloat16)
    affine = [random(2, inputs, seed=4), random(2, inputs, seed=5)]
    scale, shift = (each[:, None, None] for each in affine)
    normal = jax.nn.silu(x.astype(jnp.float32) * scale + shift)
    layer = rounded(convolution(inputs, outputs), normal, rounding)
    more = random(2, 3, 32, outputs, seed=6).astype(jnp.bfloat16)
    wanted = np.asarray(more.astype(jnp.float32) + layer(normal))
    image, moments = convolve(x, layer, affine, more, interpret=True)
    found = np.asarray(image.astype(jnp.float32))
    np.testing.assert_allclose(found, wanted, atol=2**-6, rtol=2**-7)
    means = found.reshape(2, -1, outputs).mean(axis=1)
    np.testing.assert_allclose(moments[:, 0, 0], means, atol=1e-4)


@pytest.mark.parametrize("zero", [0.0, -100.0])
def test_the_kernels_sums_of_the_largest_integers_are_exact(zero: float) -> None:
    """They are beyond the integers that float32 has. All inputs are clipped."""
    inputs, outputs = 1280, 128
    weight = jnp.full((3, 3, inputs, outputs), LARGEST, jnp.int8).at[..., ::2].set(-LARGEST)
    layer = RoundedConv(
        weight, jnp.ones(inputs), jnp.float32(zero), jnp.ones(outputs), jnp.zeros(outputs)
    )
    x = jnp.full((1, 2, 32, inputs), 1e4, jnp.bfloat16)
    affine = [jnp.ones((1, inputs)), jnp.zeros((1, inputs))]
    image, _ = convolve(x, layer, affine, jnp.zeros((1, 2, 32, outputs)), interpret=True)
    pixels = np.pad(np.full((2, 32), LARGEST - zero), 1)
    taps = [pixels[i : i + 2, j : j + 32] for i in range(3) for j in range(3)]
    wanted = np.sum(taps, axis=0)[..., None] * inputs * np.asarray(weight[0, 0, 0], np.float64)
    assert abs(wanted).max() > 2**24
    found = np.asarray(image[0].astype(jnp.float32), np.float64)
    np.testing.assert_allclose(found, wanted, rtol=2**-8)


def test_all_but_the_first_and_the_last_convolution_are_replaced() -> None:
    declared = UNet.declare(load_config(DEMO).unet)
    names: list[str] = []

    def note(conv: Conv) -> Conv:
        weight: object = conv.weight
        names.append(weight.name)  # type: ignore[attr-defined]
        return conv

    replaced(declared, note)
    assert len(set(names)) == len(names)
    assert {"conv_in.weight", "conv_out.weight"}.isdisjoint(names)
    assert "down_blocks.0.downsamplers.0.conv.weight" in names
    assert "up_blocks.0.upsamplers.0.conv.weight" in names
    assert sum(".resnets." in name for name in names) == len(names) - 4


def test_rounds_what_it_has_watched() -> None:
    config = load_config(DEMO).unet
    unet = weights.init(UNet.declare(config), jax.random.key(0), jnp.float32)
    pooled = config.added_features - 6 * config.time_id_features
    given = (
        random(1, 8, 8, config.in_channels),
        jnp.asarray([500.0]),
        random(1, 5, config.context),
        random(1, pooled),
        jnp.full((1, 6), 64.0),
    )
    watching = Watching()
    run = jax.jit(lambda unet: unet(*given))
    wanted = run(watching.of(unet))
    for rounding in (ALL, replace(ALL, top=False)):
        made = Rounded(rounding, watching.largest())
        abstract: object = made.of(weights.abstract(UNet.declare(config), jnp.float32))
        assert str(jax.tree.structure(abstract)) == str(jax.tree.structure(made.of(unet)))
        assert 0 < error(run(made.of(unet)), wanted) < 0.1


def test_only_the_first_variant_is_the_products() -> None:
    plain, *others = variants([])
    assert plain.other is None
    names = [each.name for each in (plain, *others)]
    assert len(set(names)) == len(names)
    assert len([each for each in others if each.other is not None]) == len(ROUNDINGS)
