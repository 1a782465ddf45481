"""Our kernels, interpreted on a CPU, against plain float32."""

import math
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.kernels import (
    attention,
    chip,
    convolution,
    cross_attention,
    int8_feed_forward,
    int8_linear,
    upsampling,
)
from easel_worker.sdxl.kernels.chip import LANES
from easel_worker.sdxl.model import image_layers, layers, params, token_layers
from easel_worker.sdxl.model.attention import Attend, Block, KeyValue, WithPicture
from easel_worker.sdxl.model.int8 import Int8Conv
from easel_worker.sdxl.model.kernel_layer import bind
from easel_worker.sdxl.model.kernel_options import (
    CUDNN,
    FAST,
    PLAIN,
    KernelOptions,
    choose,
)
from easel_worker.sdxl.model.layers import Conv, GroupNorm, LayerNorm, Linear, Measured
from easel_worker.sdxl.model.resnet import Resnet, Upsample
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.quantization import scales, selection

BASE = Path(__file__).parents[3] / "models" / "sdxl-base-config"

INTERPRETED = replace(FAST, interpret=True)
ROUNDING = 2**-6
"""bfloat16 rounds operands and results to 2⁻⁸ of their size, and sums accumulate the errors."""


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> jax.Array:
    drawn = np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)
    return jnp.asarray(scale * drawn, jnp.bfloat16)


def exact(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32)


def assert_near(found: jax.Array, wanted: jax.Array) -> None:
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(exact(found), wanted, atol=ROUNDING, rtol=ROUNDING)


@pytest.mark.parametrize(
    ("heads", "features", "tokens", "keys"),
    [
        (2, 64, 32, 32),
        (4, 64, 16, 77),
        *((2, 64, 16, 77 * chunks) for chunks in (2, 3, 4)),
        *((2, 64, 16, tokens) for tokens in (4, 12)),
        (1, 256, 32, 32),
        (2, 64, 1024, 16),
    ],
)
def test_attention(heads: int, features: int, tokens: int, keys: int) -> None:
    query = random(2, tokens, heads, features, scale=3.0)
    kv = KeyValue(*(random(2, keys, heads, features, seed=seed) for seed in (1, 2)))
    found = Attend(kernel_options=INTERPRETED)(query, kv)
    assert_near(found, Attend()(exact(query), KeyValue(exact(kv.key), exact(kv.value))))


def test_a_block_that_attends_to_a_picture_too() -> None:
    tree = weights.init(Block.declare("b", 128, 64, 2), jax.random.key(0), jnp.bfloat16)
    x = random(1, 16, 128)
    prompt, picture = (
        KeyValue(*(random(1, keys, 2, 64, seed=seed) for seed in (1, 2))) for keys in (77, 4)
    )
    both = WithPicture(prompt, picture)
    found = bind(tree, INTERPRETED)(x, both)
    whole, given = jax.tree.map(exact, (tree, (x, both)))
    wanted, without = whole(*given), whole(given[0], given[1].prompt)
    assert np.abs(exact(found) - wanted).mean() < 0.02 * np.abs(wanted).mean()
    assert np.abs(without - wanted).mean() > 0.1 * np.abs(wanted).mean()


@pytest.mark.parametrize(
    ("channels", "tokens", "keys"), [(128, 16, 77), (256, 1008, 154), (640, 256, 4)]
)
def test_a_block_whose_cross_attention_is_one_kernel(
    channels: int, tokens: int, keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = channels // 64
    block = weights.init(Block.declare("b", channels, 64, heads), jax.random.key(0), jnp.bfloat16)
    norm = replace(block.norm2, weight=random(channels, seed=1), bias=random(channels, seed=2))
    outs = [
        replace(each, bias=random(channels, seed=seed))
        for seed, each in enumerate((block.attn1.to_out, block.attn2.to_out))
    ]
    block = replace(
        block,
        norm2=norm,
        attn1=replace(block.attn1, to_out=outs[0]),
        attn2=replace(block.attn2, to_out=outs[1]),
    )
    x = random(2, tokens, channels, seed=3)
    kv = KeyValue(*(random(2, keys, heads, 64, seed=seed) for seed in (4, 5)))
    wanted = jax.tree.map(exact, block)(exact(x), jax.tree.map(exact, kv))

    def error() -> float:
        found = exact(bind(block, INTERPRETED)(x, kv))
        return float(np.abs(found - wanted).mean() / np.abs(wanted).mean())

    fused = error()
    with monkeypatch.context() as patch:
        patch.setattr(cross_attention, "fits", lambda *_: False)
        apart = error()
    assert fused != apart
    assert fused < 1.02 * apart


def test_cross_attention_in_one_kernel_with_a_mean_far_above_the_spread() -> None:
    """Its norm has two passes."""
    channels, tokens = 128, 32
    x, attended = random(1, tokens, channels) + 1000, jnp.zeros((1, tokens, channels), jnp.bfloat16)
    eye, none = jnp.eye(channels, dtype=jnp.bfloat16), jnp.zeros(channels, jnp.bfloat16)
    norm = LayerNorm(jnp.ones(channels, jnp.bfloat16), none, eps=1e-5)
    key, value = (random(1, 5, channels, seed=seed) for seed in (1, 2))
    found = cross_attention.attend(
        x,
        attended,
        cross_attention.Layers(Linear(eye, none), norm, Linear(eye), Linear(1000 * eye, none)),
        *(key, value),
        interpret=True,
    )
    normal = norm(exact(x)).reshape(1, tokens, 2, 64)
    kv = KeyValue(*(exact(each).reshape(1, 5, 2, 64) for each in (key, value)))
    wanted = exact(x) + 1000 * Attend()(normal, kv).reshape(x.shape)
    np.testing.assert_allclose(exact(found), wanted, rtol=0.02, atol=20.0)


@given(st.integers(1, 1 << 14), st.integers(LANES, 1024))
def test_blocks_divide_the_tokens(tokens: int, most: int) -> None:
    rows = chip.block_tokens(tokens, most)
    divisors = [each for each in range(LANES, most + 1) if tokens % each == 0 and each % 16 == 0]
    if rows is None:
        assert not divisors or tokens <= most
        assert tokens > most or tokens % 8
    else:
        assert rows == (tokens if tokens <= most else max(divisors))


def test_attention_does_not_overflow() -> None:
    large = jnp.full((1, 16, 2, 64), 1e18, jnp.bfloat16)
    out = Attend(kernel_options=INTERPRETED)(large, KeyValue(large, jnp.ones_like(large)))
    np.testing.assert_array_equal(exact(out), np.ones((1, 16, 2, 64)))


def test_one_heads_overflow_does_not_reach_the_head_beside_it() -> None:
    """Two heads share the lanes; zero times infinity would be no number."""
    query, key, value = (random(1, 32, 2, 64, seed=seed) for seed in range(3))
    right = jnp.arange(2)[None, None, :, None] == 1
    wanted = exact(Attend(kernel_options=INTERPRETED)(query, KeyValue(key, value)))[:, :, 0]
    for role in range(3):
        given = [query, key, value]
        given[role] = jnp.where(right, jnp.inf, given[role])
        found = exact(Attend(kernel_options=INTERPRETED)(given[0], KeyValue(*given[1:])))
        np.testing.assert_array_equal(found[:, :, 0], wanted)
        assert not np.isfinite(found[:, :, 1]).any()


def test_a_head_of_512_channels_is_as_exact_as_plain_bfloat16() -> None:
    query, key, value = (random(1, tokens, 1, 512, seed=9) for tokens in (256, 512, 512))
    query = 2.5 * query
    whole = Attend()(exact(query), KeyValue(exact(key), exact(value)))

    def error(attend: Attend) -> float:
        found = exact(attend(query, KeyValue(key, value)))
        return float(np.abs(found - whole).mean() / np.abs(whole).mean())

    assert error(Attend(kernel_options=INTERPRETED)) < 1.2 * error(Attend())


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("mean", [0.0, 10.0, 256.0, 1000.0, 3000.0])
def test_group_norm_in_one_pass_where_the_mean_is_far_above_the_spread(
    mean: float, dtype: jnp.dtype
) -> None:
    norm = GroupNorm(jnp.ones(128, dtype), jnp.zeros(128, dtype), groups=32, eps=1e-6)
    drawn = np.random.default_rng(0).standard_normal((1, 64, 64, 32, 4))
    x = jnp.asarray(mean + drawn, dtype)
    wide, axes = np.asarray(x, np.float64), (1, 2, 4)
    centred = wide - wide.mean(axes, keepdims=True)
    wanted = centred / np.sqrt(np.square(centred).mean(axes, keepdims=True) + norm.eps)
    found = exact(bind(norm, INTERPRETED)(x.reshape(1, 64, 64, 128)))
    error = np.abs(np.asarray(found).reshape(wide.shape) - wanted).mean() / np.abs(wanted).mean()
    # What is left: rounding the result, or float32's step at the mean.
    assert error < (2**-8 if dtype == jnp.bfloat16 else 1e-5 + mean * 2**-22)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("mean", [0.0, 10.0, 256.0, 1000.0, 3000.0])
def test_layer_norm_where_the_mean_is_far_above_the_spread(mean: float, dtype: jnp.dtype) -> None:
    """In bfloat16 it has one pass: with a mean of 1000 spreads, a step is already four of them."""
    norm = LayerNorm(jnp.ones(1280, dtype), jnp.zeros(1280, dtype), eps=1e-5)
    x = jnp.asarray(mean + np.random.default_rng(0).standard_normal((256, 1280)), dtype)
    wide = np.asarray(x, np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    wanted = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + norm.eps)
    found = exact(bind(norm, INTERPRETED)(x))
    error = np.abs(found - wanted).mean() / np.abs(wanted).mean()
    if dtype == jnp.bfloat16:
        assert error < (0.04 if mean == 1000 else 2**-7)
    else:
        assert error < 1e-5 + mean * 2**-22


KEYS = {
    "one": lambda: random(1, 1, 2, 64),
    "all equal": lambda: jnp.broadcast_to(random(1, 1, 2, 64), (1, 256, 2, 64)),
    "many": lambda: random(1, 300, 2, 64),
}


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 30.0, 100.0])
@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_attention_with_flat_and_peaked_weights(keys: str, scale: float, mean: float) -> None:
    """Weights from equal ones to a single one, and values with a mean far above their spread."""
    query, key = scale * random(1, 64, 2, 64, seed=1), KEYS[keys]()
    kv = KeyValue(key, random(*key.shape, seed=2) + jnp.asarray(mean, jnp.bfloat16))
    found = Attend(kernel_options=INTERPRETED)(query, kv)
    assert_near(found, Attend()(exact(query), KeyValue(exact(kv.key), exact(kv.value))))


def test_a_heads_size_does_not_change_the_head_beside_it() -> None:
    size = jnp.asarray([1e30, 1.0], jnp.bfloat16)[None, None, :, None]
    query, key, value = (random(1, 64, 2, 64, seed=seed) for seed in range(3))
    wanted = exact(Attend(kernel_options=INTERPRETED)(query, KeyValue(key, value)))
    found = exact(Attend(kernel_options=INTERPRETED)(query, KeyValue(key, size * value)))
    np.testing.assert_array_equal(found[:, :, 1], wanted[:, :, 1])
    np.testing.assert_allclose(found[:, :, 0], 1e30 * wanted[:, :, 0], rtol=ROUNDING, atol=1e28)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_norm_silu_conv_of_small_and_large_images(scale: float) -> None:
    x = random(1, 4, 32, 256, scale=scale)
    norm = GroupNorm(random(256, seed=2), random(256, seed=3), groups=32, eps=1e-5)
    conv = Conv(random(3, 3, 256, 320, seed=4, scale=0.02), random(320, seed=5))
    found = image_layers.norm_silu_conv(*bind((norm, conv), INTERPRETED), Measured(x))
    whole = jax.tree.map(exact, (norm, conv))
    assert_near(found.image, image_layers.norm_silu_conv(*whole, Measured(exact(x))).image)


@pytest.mark.parametrize("mean", [0.0, 100.0, 256.0, 1000.0])
def test_a_residual_block_where_the_mean_is_far_above_the_spread(mean: float) -> None:
    """The first norm sums its input, the second one's input is measured by the kernel."""
    tree = weights.init(
        Resnet.declare("r", 256, 128, groups=32, eps=1e-5), jax.random.key(0), jnp.bfloat16
    )
    tree = replace(tree, conv1=replace(tree.conv1, bias=jnp.full(128, mean, jnp.bfloat16)))
    x = random(2, 16, 32, 256) + jnp.asarray(mean, jnp.bfloat16)
    found = bind(tree, INTERPRETED)(x)
    plain, wanted = exact(tree(x)), exact(jax.tree.map(exact, tree)(exact(x)))

    def error(image: jax.Array) -> float:
        return float(np.abs(exact(image) - wanted).mean() / np.abs(wanted).mean())

    assert error(found) < max(0.01, 1.1 * error(plain))


@pytest.mark.parametrize("mean", [0.0, 256.0, 3000.0])
@pytest.mark.parametrize(("shape", "blocks"), [((2, 6, 32, 256), 1), ((1, 128, 128, 128), 2)])
def test_kernels_measure_what_they_write(shape: tuple[int, ...], blocks: int, mean: float) -> None:
    channels = 128
    x, more = random(*shape), random(*shape[:3], channels, seed=1)
    conv = random(3, 3, shape[-1], channels, seed=2, scale=0.02), jnp.full(channels, mean)
    convolved = convolution.convolve(x, *conv, None, residual=more, measure=True, interpret=True)
    doubled = upsampling.convolve_upsampled(x, *conv, measure=True, interpret=True)
    assert [each[1].shape[1] for each in (convolved, doubled)] == [blocks, 2 * blocks]
    for image, moments in (convolved, doubled):
        parts = np.asarray(exact(image), np.float64).reshape(shape[0], -1, channels)
        found = np.asarray(moments, np.float64)
        mean_of_all = found[:, :, 0].mean(axis=1)
        variance = (found[:, :, 1] + np.square(found[:, :, 0] - mean_of_all[:, None])).mean(axis=1)
        np.testing.assert_allclose(mean_of_all, parts.mean(axis=1), rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(variance, parts.var(axis=1), rtol=1e-3)


def test_an_outlier_first_costs_a_norm_in_one_pass_little() -> None:
    """The first value is subtracted before summing, and may be far from the mean."""
    norm = bind(GroupNorm(jnp.ones(128), jnp.zeros(128), groups=32, eps=1e-6), INTERPRETED)
    x = np.random.default_rng(0).standard_normal((1, 64, 64, 128)).astype(np.float32)
    x[0, 0, 0] = 100.0
    np.testing.assert_allclose(
        norm(jnp.asarray(x)), bind(norm, PLAIN)(jnp.asarray(x)), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    ("shape", "outputs"),
    [
        ((2, 8, 16, 128), 256),
        ((1, 3, 32, 128), 128),
        ((1, 4, 16, 128), 3),
        ((1, 4, 16, 320), 4),
        ((2, 1, 16, 320), 64),
        ((2, 3, 16, 320), 320),
        ((1, 2, 16, 128), 320),
        ((1, 2, 16, 448), 130),
    ],
)
def test_norm_silu_conv(shape: tuple[int, ...], outputs: int) -> None:
    channels = shape[-1]
    x, offset = random(*shape) + 1, random(shape[0], outputs, seed=1)
    norm = GroupNorm(random(channels, seed=2), random(channels, seed=3), groups=32, eps=1e-5)
    scale = (9 * channels) ** -0.5
    conv = Conv(random(3, 3, channels, outputs, seed=4, scale=scale), random(outputs, seed=5))
    assert convolution.fits(x, conv.weight)

    fused = bind((norm, conv), INTERPRETED)
    found = image_layers.norm_silu_conv(*fused, Measured(x), offset=offset)
    wanted = image_layers.norm_silu_conv(
        *jax.tree.map(exact, (norm, conv)), Measured(exact(x)), offset=exact(offset)
    )
    assert_near(found.image, wanted.image)


@pytest.mark.parametrize("outputs", [4, 320])
def test_an_infinite_pixel_reaches_only_its_neighbours(outputs: int) -> None:
    """Products of several rows and columns of the filter share tiles of the matrix unit."""
    x = random(1, 5, 16, 320).at[0, 2, 7].set(jnp.inf)
    weight = jnp.abs(random(3, 3, 320, outputs, seed=1)) + 1
    [found] = convolution.convolve(x, weight, jnp.zeros(outputs), None, interpret=True)
    wanted = np.zeros((1, 5, 16, outputs), bool)
    wanted[0, 1:4, 6:9] = True
    np.testing.assert_array_equal(np.isposinf(exact(found)), wanted)
    assert np.isfinite(np.asarray(exact(found))[~wanted]).all()


@pytest.mark.parametrize("mean", [0.0, 256.0, 3000.0])
def test_a_norm_of_images_side_by_side_of_which_one_is_measured(mean: float) -> None:
    """The groups do not end where the first image does, and its moments are of several parts."""
    x, weight = random(2, 128, 128, 128), random(3, 3, 128, 128, seed=1, scale=0.02)
    made = convolution.convolve(x, weight, jnp.full(128, mean), None, measure=True, interpret=True)
    assert made[1].shape[1] > 1
    images = [Measured(*made), Measured(random(2, 128, 128, 32, seed=2) + 1)]
    norm = bind(GroupNorm(jnp.ones(160), jnp.zeros(160), groups=32, eps=1e-6), INTERPRETED)
    both = layers.concatenated(images)
    assert both.moments is not None
    for order in (images, images[::-1]):
        both = layers.concatenated(order)
        found, wanted = exact(norm.of(both)), bind(norm, PLAIN)(exact(both.image))
        np.testing.assert_allclose(found, wanted, atol=ROUNDING, rtol=ROUNDING)


def test_images_side_by_side_that_nothing_measured() -> None:
    x = random(1, 2, 16, 128)
    both = layers.concatenated([Measured(x), Measured(x[..., :64])])
    assert both.moments is None
    np.testing.assert_array_equal(both.image, jnp.concatenate([x, x[..., :64]], axis=-1))


def test_upsampling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upsampling, "_FEWEST_PIXELS", 1)
    x = random(2, 4, 16, 128)
    up = Upsample(Conv(random(3, 3, 128, 64, seed=1, scale=0.03), random(64, seed=2)))
    assert upsampling.fits(x, up.conv.weight)
    found = bind(up, INTERPRETED)(x)
    assert found.shape == (2, 8, 32, 64)
    assert_near(found, jax.tree.map(exact, up)(exact(x)))


def test_summed_weights_equal_a_filter_on_the_upsampled_image() -> None:
    """Exact in float32: one pixel's filter at each of its four positions."""
    weight = jnp.arange(9.0).reshape(3, 3, 1, 1)
    sums = upsampling.sum_weights(weight)[..., 0, 0]
    assert sums[0, 0, 0, 0] == weight[0, 0, 0, 0]
    assert sums[0, 1, 0, 1] == weight[1:, 1:].sum()
    assert sums[1, 0, 1, 0] == weight[:2, :2].sum()
    np.testing.assert_array_equal(sums.sum((1, 3)), np.full((2, 2), 36.0))


def int8_block(channels: int) -> Block:
    """A transformer block with quantised layers and random biases and norms."""
    block = weights.init(Block.declare("b", channels, 64, 2), jax.random.key(0), jnp.bfloat16)
    norms = {
        name: replace(
            getattr(block, name),
            weight=1 + random(channels, seed=i, scale=0.1),
            bias=random(channels, seed=10 + i, scale=0.1),
        )
        for i, name in enumerate(("norm1", "norm2", "norm3"))
    }

    def with_biases(linears: list[Linear]) -> list[Linear]:
        return [
            each if each.bias is None else replace(each, bias=random(*each.bias.shape, seed=20))
            for each in linears
        ]

    block = selection.replaced(replace(block, **norms), with_biases)
    shared = selection.shared_inputs(block)
    return selection.quantise(block, [4.0 * np.ones(each[0].weight.shape[0]) for each in shared])


def assert_within_steps(found: jax.Array, wanted: jax.Array) -> None:
    """Equal, except where a value was close to a rounding boundary of 8 bits."""
    off = np.abs(np.asarray(exact(found) - wanted))
    scale = float(np.abs(np.asarray(wanted)).mean())
    assert off.mean() < 0.02 * scale
    assert off.max() < 0.2 * scale + ROUNDING


def int8_convolution(inputs: int, outputs: int) -> tuple[GroupNorm, Int8Conv]:
    norm = GroupNorm(random(inputs, seed=2), random(inputs, seed=3), groups=32, eps=1e-5)
    weight = random(3, 3, inputs, outputs, seed=4, scale=(9 * inputs) ** -0.5)
    [conv] = scales.quantise([Conv(weight, random(outputs, seed=5))], np.full(inputs, 4.0))
    assert isinstance(conv, Int8Conv)
    return norm, conv


@pytest.mark.parametrize(
    ("shape", "outputs"),
    [
        ((2, 4, 32, 128), 256),
        ((1, 3, 64, 128), 130),
        ((2, 3, 32, 320), 320),
        ((1, 1, 32, 448), 64),
    ],
)
def test_int8_convolutions(shape: tuple[int, ...], outputs: int) -> None:
    """Whole and half tiles, with an offset, a residual image and moments."""
    norm, conv = int8_convolution(shape[-1], outputs)
    x, offset = random(*shape) + 1, random(shape[0], outputs, seed=1)
    more = random(*shape[:3], outputs, seed=6)
    assert convolution.fits(x, conv.int8)
    found = image_layers.norm_silu_conv(
        *bind((norm, conv), INTERPRETED),
        Measured(x),
        offset=offset,
        residual=lambda: more,
        measure=True,
    )
    wanted = image_layers.norm_silu_conv(
        norm, conv, Measured(exact(x)), offset=exact(offset), residual=lambda: exact(more)
    )
    assert_within_steps(found.image, wanted.image)
    assert found.moments is not None
    parts = exact(found.image).reshape(shape[0], -1, outputs)
    np.testing.assert_allclose(found.moments[:, 0, 0], parts.mean(axis=1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("outputs", [128, 320])
def test_int8_convolutions_of_the_largest_integers(outputs: int) -> None:
    """All inputs are clipped, so no rounding differs: the sums are those of plain JAX."""
    inputs = 320
    x = jnp.where(random(1, 4, 32, inputs) > 0, 1e4, 5e3).astype(jnp.bfloat16)
    weight = jnp.clip(jnp.round(100 * exact(random(3, 3, inputs, outputs))), -127, 127)
    weight = weight.astype(jnp.int8).at[..., 0].set(127).at[..., 1].set(-127)
    vectors = jnp.ones(inputs), jnp.ones(outputs), jnp.zeros(outputs)
    conv = Int8Conv(weight, *vectors)
    affine = jnp.ones((1, inputs)), jnp.zeros((1, inputs))
    steps = convolution.Steps(conv.gain, conv.step)
    [found] = convolution.convolve(x, conv.int8, conv.bias, affine, steps=steps, interpret=True)
    wanted = conv(x)
    assert float(jnp.max(jnp.abs(exact(wanted)))) > 2**24
    np.testing.assert_array_equal(exact(found), exact(wanted))


def test_int8_convolutions_fall_back_to_plain_jax_where_the_kernel_does_not_fit() -> None:
    norm, conv = int8_convolution(128, 128)
    narrow = random(1, 4, 16, 128)
    assert not convolution.fits(narrow, conv.int8)
    assert convolution.fits(narrow, random(3, 3, 128, 128))
    found, wanted = (
        image_layers.norm_silu_conv(norm, bind(conv, options), Measured(narrow)).image
        for options in (INTERPRETED, PLAIN)
    )
    np.testing.assert_array_equal(exact(found), exact(wanted))


def test_int8_layers_with_norm_or_sum() -> None:
    block = int8_block(128)
    x = random(2, 64, 128)
    own = block.attn1
    linears = [own.to_k, own.to_v, own.to_q]
    assert int8_linear.fits(x, linears)
    by_kernel = token_layers.normed(block.norm1, bind(linears, INTERPRETED), x)
    plain = token_layers.normed(block.norm1, linears, exact(x))
    for found, wanted in zip(by_kernel, plain, strict=True):
        assert_within_steps(found, wanted)

    more = random(2, 64, 128, seed=1)
    found = token_layers.added(bind(own.to_out, INTERPRETED), x, more)
    assert_within_steps(found, token_layers.added(own.to_out, exact(x), exact(more)))


def test_int8_cross_attention_in_one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    block, x = int8_block(128), random(2, 64, 128)
    kv = KeyValue(*(random(2, 77, 2, 64, seed=seed) for seed in (1, 2)))
    called = []
    attend = cross_attention.attend

    def watched(*given: jax.Array, **options: bool) -> jax.Array:
        called.append(given)
        return attend(*given, **options)

    monkeypatch.setattr(cross_attention, "attend", watched)
    found = bind(block, INTERPRETED)(x, kv)
    assert len(called) == 1
    wanted = block(exact(x), jax.tree.map(exact, kv))
    assert np.abs(exact(found) - wanted).mean() < 0.02 * np.abs(wanted).mean()


def test_int8_feed_forward() -> None:
    block, x = int8_block(128), random(2, 64, 128)
    assert int8_feed_forward.fits(x, block.ff_out)
    assert_within_steps(feed_forward(block, x, INTERPRETED), feed_forward(block, exact(x), PLAIN))


def feed_forward(block: Block, x: jax.Array, kernel_options: KernelOptions) -> jax.Array:
    parts = bind((block.norm3, block.ff_in, block.ff_out), kernel_options)
    return token_layers.feed_forward(*parts, x)


def test_the_fitted_gelu_is_near_the_exact_one_at_every_number() -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    x = jax.lax.bitcast_convert_type(jnp.asarray(bits), jnp.bfloat16)
    x = x[jnp.isfinite(x)]
    wide = np.asarray(x.astype(jnp.float32), np.float64)
    exact = np.array([0.5 * each * math.erfc(-each / math.sqrt(2.0)) for each in wide])
    exact = np.where(np.isfinite(exact), exact, wide)
    found = np.asarray(layers.fitted_gelu(x.astype(jnp.float32)), np.float64)
    assert np.all(np.abs(found - exact) <= 2.6e-5 + 2**-22 * np.abs(exact))
    rounded = np.asarray(layers.fitted_gelu(x).astype(jnp.float32), np.float64)
    assert np.all(np.abs(rounded - exact) <= 2.7e-5 + 2**-8 * np.abs(exact))


@pytest.mark.parametrize(("dtype", "differs"), [(jnp.bfloat16, True), (jnp.float32, False)])
def test_only_bfloat16_layers_take_the_fitted_gelu(dtype: jnp.dtype, differs: bool) -> None:
    block = weights.abstract(Block.declare("b", 128, 128, heads=2), dtype)
    block = jax.tree.map(lambda leaf: random(*leaf.shape).astype(dtype), block)
    x = random(1, 8, 128).astype(dtype)
    exact = replace(FAST, fitted_gelu=False, one_pass_norms=False)
    fast = str(
        jax.make_jaxpr(lambda x: feed_forward(block, x, replace(exact, fitted_gelu=True)))(x)
    )
    assert ("tanh" in fast) == differs
    assert ("erf" in fast) != differs
    assert "tanh" not in str(jax.make_jaxpr(lambda x: feed_forward(block, x, exact))(x))


def test_value_and_gate_by_two_products_have_the_bits_of_one() -> None:
    block = weights.init(Block.declare("b", 128, 64, 2), jax.random.key(0), jnp.bfloat16)
    block = replace(block, ff_in=replace(block.ff_in, bias=random(1024, seed=1)))
    x = random(2, 64, 128)
    value, gate = jnp.split(block.ff_in(block.norm3(x)), 2, axis=-1)
    wanted = x + block.ff_out(value * layers.fitted_gelu(gate))
    fitted = replace(PLAIN, fitted_gelu=True)
    np.testing.assert_array_equal(exact(feed_forward(block, x, fitted)), exact(wanted))


def test_gelu_by_tanh_is_accurate_enough_for_8_bits() -> None:
    x = jnp.linspace(-8.0, 8.0, 4001)
    assert float(jnp.max(jnp.abs(int8_feed_forward.gelu(x) - layers.gelu(x)))) < 6e-4


def test_int8_layers_fall_back_to_plain_jax_where_kernels_do_not_fit() -> None:
    block = int8_block(128)
    few = random(1, 24, 128)
    assert not int8_linear.fits(few, [block.attn1.to_out])
    assert not int8_feed_forward.fits(exact(random(2, 64, 128)), block.ff_out)
    plain = replace(INTERPRETED, linear_kernel=False)
    found, wanted = (
        feed_forward(block, few, kernel_options) for kernel_options in (INTERPRETED, plain)
    )
    np.testing.assert_array_equal(exact(found), exact(wanted))


def test_falls_back_to_plain_jax_where_kernels_do_not_fit() -> None:
    """float32, odd numbers of heads, widths that fill half a register."""
    query = random(1, 16, 3, 64)
    assert not attention.fits(query.reshape(1, 16, -1), query.reshape(1, 16, -1), 3)
    kv = KeyValue(query, query)
    np.testing.assert_array_equal(
        exact(Attend(kernel_options=INTERPRETED)(query, kv)), exact(Attend()(query, kv))
    )
    assert not convolution.fits(random(1, 8, 8, 128), random(3, 3, 128, 128))
    assert not convolution.fits(exact(random(1, 8, 16, 128)), random(3, 3, 128, 128))
    assert not convolution.fits(random(1, 8, 16, 64), random(3, 3, 64, 64))


def test_a_whole_unet_with_kernels() -> None:
    """In bfloat16 the kernels are as close to plain float32 as plain bfloat16 is."""
    base = load_config(BASE)
    config = replace(
        base.unet,
        channels=(128, 256),
        layers=(1, 1),
        down_transformers=((), (1,)),
        mid_transformers=(1,),
        up_transformers=((), (1, 1)),
        heads=(2, 4),
    )
    tree = weights.init(UNet.declare(config), jax.random.key(0), jnp.bfloat16)
    pooled = config.added_features - 6 * config.time_id_features
    given = [
        random(1, 16, 16, config.in_channels),
        jnp.asarray([500.0]),
        random(1, 77, config.context),
        random(1, pooled),
        jnp.ones((1, 6)),
    ]

    def predict(tree: UNet, kernel_options: KernelOptions) -> np.ndarray:
        run = jax.jit(lambda unet, given: unet(*given))
        return np.asarray(exact(run(bind(tree, kernel_options), given)))

    wanted = predict(jax.tree.map(exact, tree), PLAIN)
    plain, kernels = (
        predict(tree, kernel_options) - wanted for kernel_options in (PLAIN, INTERPRETED)
    )
    assert np.abs(kernels).mean() < 1.2 * np.abs(plain).mean() < 0.1 * np.abs(wanted).mean()
    assert not np.array_equal(kernels, plain)


def test_bind_changes_the_kernel_options_of_every_layer_and_nothing_else() -> None:
    block = Block.declare("b", 128, 64, 2)
    bound = bind(block, FAST)
    assert bound.norm1.kernel_options == bound.attn2.attend.kernel_options == FAST
    assert block.norm1.kernel_options == PLAIN
    assert params.declared(bound) == params.declared(block)
    assert bind(bound, PLAIN) == block
    # A program compiled for one set of options rejects layers bound to another.
    assert jax.tree.structure(bound) != jax.tree.structure(block)


def test_kernel_options_by_platform() -> None:
    assert choose("auto", "tpu") == choose("fast", "tpu") == FAST
    assert choose("auto", "cuda") == choose("fast", "cuda") == CUDNN
    plain = [choose("auto", each) for each in ("cpu", "rocm")]
    assert plain + [choose("plain", each) for each in ("tpu", "cuda")] == [PLAIN] * 4
    for platform in ("cpu", "rocm"):
        with pytest.raises(ValueError, match=f"the devices are {platform}: choose auto or plain"):
            choose("fast", platform)
    with pytest.raises(ValueError, match="choose auto, plain, fast"):
        choose("quick", "tpu")


@pytest.fixture
def cudnn_without_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets jax lower cuDNN's attention where there is no NVIDIA GPU to ask for its version."""
    module = "jax._src.cudnn.fused_attention_stablehlo"
    monkeypatch.setattr(f"{module}.check_cudnn_version", lambda: 90000)
    monkeypatch.setattr(f"{module}.check_compute_capability", lambda capability: capability < "9")
    monkeypatch.setattr(f"{module}.is_cuda_compute_capability_equal", lambda _: False)


def lowered_for_cuda(query: jax.ShapeDtypeStruct, keys: int) -> str:
    shape = (query.shape[0], keys, *query.shape[2:])
    kv = KeyValue(*[jax.ShapeDtypeStruct(shape, query.dtype)] * 2)
    exported = jax.export.export(
        jax.jit(Attend(kernel_options=CUDNN).__call__),
        platforms=["cuda"],
        disabled_checks=[jax.export.DisabledSafetyCheck.custom_call(CUDNN_CALL)],
    )(query, kv)
    assert exported.out_avals[0].shape == query.shape
    return exported.mlir_module()


CUDNN_CALL = "__cudnn$fmhaSoftmax"


@pytest.mark.usefixtures("cudnn_without_a_card")
def test_cudnn_computes_the_attention_that_it_supports() -> None:
    for keys in (4096, 77, 308):
        query = jax.ShapeDtypeStruct((2, 4096, 10, 64), jnp.bfloat16)
        text = lowered_for_cuda(query, keys)
        assert text.count(CUDNN_CALL) == 1
        assert "x4096x4096x" not in text


@pytest.mark.usefixtures("cudnn_without_a_card")
def test_what_cudnn_does_not_support_never_holds_all_scores() -> None:
    vae = jax.ShapeDtypeStruct((1, 16384, 1, 512), jnp.bfloat16)
    for query in (vae, jax.ShapeDtypeStruct(vae.shape, jnp.float32)):
        text = lowered_for_cuda(query, 16384)
        assert CUDNN_CALL not in text
        assert "1x1x16384x16384x" not in text
        assert "1x1x4096x16384x" in text


@pytest.mark.parametrize(("tokens", "most"), [(64, 1 << 9), (64, 1), (60, 500), (64, 1 << 30)])
def test_attention_in_parts(tokens: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easel_worker.sdxl.model.attention._MOST_SCORES", most)
    query = exact(random(2, tokens, 1, 12))
    kv = KeyValue(*(exact(random(2, 20, 1, 12, seed=seed)) for seed in (1, 2)))
    found = Attend(kernel_options=CUDNN)(query, kv)
    np.testing.assert_allclose(found, Attend()(query, kv), rtol=1e-5, atol=1e-6)
