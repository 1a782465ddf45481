"""Quantised layers: error bounds, which layers are quantised, and whole images."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from easel_worker.calibrate.__main__ import main
from easel_worker.calibrate.images import Calibration, calibrate
from easel_worker.calibrate.watched import watched_unet
from easel_worker.engine import Pixels
from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.folder.files import locate
from easel_worker.sdxl.folder.model import Dtypes, abstract_params, load_params
from easel_worker.sdxl.kernels import integers
from easel_worker.sdxl.model import int8
from easel_worker.sdxl.model.int8 import Int8Conv, Int8Linear
from easel_worker.sdxl.model.kernel_options import FAST
from easel_worker.sdxl.model.layers import Conv, Linear
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.quantization import calibration, scales, selection
from easel_worker.sdxl.quantization.calibration import CalibrationError
from easel_worker.sdxl.serving import int8_check, resolve
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.int8_check import WrongRoundingError
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.sharding import replicate
from tests.sdxl import tiny_model
from tests.sdxl.engines import start

DEMO = Path(__file__).parents[3] / "models" / "demo"
INPUTS, OUTPUTS = 24, 8


def one_layer(weight: np.ndarray, largest: np.ndarray, bias: jax.Array | None = None) -> Int8Linear:
    """Quantise a layer that shares its input with no other."""
    [made] = scales.quantise([Linear(jnp.asarray(weight), bias)], largest)
    return made


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 3.0))
def test_error_is_at_most_half_a_step_of_each_factor(seed: int, spread: float) -> None:
    """For any spread of the channels' magnitudes."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(spread * rng.standard_normal(INPUTS)).astype(np.float32)
    x = rng.uniform(-1, 1, (5, INPUTS)).astype(np.float32) * sizes
    weight = rng.standard_normal((INPUTS, OUTPUTS), np.float32)
    bias = rng.standard_normal(OUTPUTS).astype(np.float32)
    layer = one_layer(weight, sizes, bias=jnp.asarray(bias))
    y = np.asarray(layer(jnp.asarray(x)), np.float64)

    gain, step = np.float64(layer.gain), np.float64(layer.step)
    whole = np.float64(layer.int8)
    # x = (n ± ½) / gain and w = (m ± ½) · step · gain, so each product is off by no more than
    from_weights = 0.5 * np.abs(x * gain).sum(1, keepdims=True)
    from_inputs = 0.5 * np.abs(whole).sum(0)
    most = (from_weights + from_inputs + 0.25 * INPUTS) * step
    off = np.abs(y - (np.float64(x) @ weight + bias))
    assert np.all(off <= 1.01 * most + 1e-5)
    assert np.all(np.abs(x * gain) <= int8.LARGEST * 1.001)
    assert np.abs(whole).max() == int8.LARGEST


def one_convolution(weight: np.ndarray, largest: np.ndarray) -> Int8Conv:
    [made] = scales.quantise([Conv(jnp.asarray(weight), jnp.zeros(weight.shape[-1]))], largest)
    assert isinstance(made, Int8Conv)
    return made


def filtered(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The convolution of stride 1 in float64, [H, W, in] → [H, W, out]."""
    height, width, _ = x.shape
    padded = np.pad(np.float64(x), ((1, 1), (1, 1), (0, 0)))
    taps = ((i, j) for i in range(3) for j in range(3))
    return sum(padded[i : i + height, j : j + width] @ np.float64(weight[i, j]) for i, j in taps)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 3.0))
def test_a_convolutions_error_is_at_most_half_a_step_of_each_factor(
    seed: int, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.exp(spread * rng.standard_normal(INPUTS)).astype(np.float32)
    x = rng.uniform(-1, 1, (5, 6, INPUTS)).astype(np.float32) * sizes
    weight = rng.standard_normal((3, 3, INPUTS, OUTPUTS), np.float32)
    layer = one_convolution(weight, sizes)
    y = np.asarray(layer(jnp.asarray(x)[None])[0], np.float64)

    gain, step = np.float64(layer.gain), np.float64(layer.step)
    whole = np.float64(layer.int8)
    most = (
        filtered(np.abs(x * gain), np.full(weight.shape, 0.5))
        + filtered(np.full(x.shape, 0.5), np.abs(whole))
        + 0.25 * 9 * INPUTS
    ) * step
    assert np.all(np.abs(y - filtered(x, weight)) <= 1.01 * most + 1e-5)
    assert np.all(np.abs(x * gain) <= int8.LARGEST * 1.001)
    assert np.abs(whole).max() == int8.LARGEST


@pytest.mark.parametrize("sign", [1, -1])
def test_a_convolution_of_the_largest_integers_is_exact(sign: int) -> None:
    """Their sum is beyond the integers that float32 has."""
    inputs = 1280
    weight = np.full((3, 3, inputs, 2), sign, np.int8) * np.int8(int8.LARGEST)
    weight[1, 1, 0] -= sign
    ones = jnp.ones(inputs)
    layer = Int8Conv(jnp.asarray(weight), 1e6 * ones, jnp.ones(2), jnp.zeros(2))
    wanted = filtered(np.full((3, 4, inputs), int8.LARGEST), weight)
    assert abs(wanted).max() > 2**24
    for sums_of in (int8.filtered, int8.by_products, int8.by_convolution):
        sums = sums_of(int8.nearest(jnp.full((1, 3, 4, inputs), 1e6)), layer.int8)
        assert sums.dtype == jnp.int32
        np.testing.assert_array_equal(sums[0], wanted)
    y = layer(jnp.full((1, 3, 4, inputs), 5.0))
    np.testing.assert_array_equal(y[0], wanted.astype(np.float32))


def test_clips_values_out_of_range() -> None:
    layer = one_layer(np.eye(4, dtype=np.float32), np.ones(4, np.float32))
    y = layer(jnp.asarray([[1.0, -1.0, 50.0, -50.0]]))
    np.testing.assert_allclose(y, [[1.0, -1.0, 1.0, -1.0]], rtol=1e-2)


def test_a_channel_that_was_always_zero_stays_finite() -> None:
    sizes = np.array([1.0, 0.0, 0.0], np.float32)
    layer = one_layer(np.ones((3, 2), np.float32), sizes)
    y = np.asarray(layer(jnp.asarray([[0.5, 0.0, 0.0]])))
    np.testing.assert_allclose(y, 0.5, atol=0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with its calibration."""
    folder = tiny_model.write(tmp_path_factory.mktemp("tiny"))
    texts = [tiny_model.tokens("a red circle")]
    options = Options(devices=jax.devices()[:1], max_prompt_chunks=1)
    said: list[str] = []
    largest = calibrate(folder, texts, options, 3, said.append)
    assert said[-1] == "image 1 of 1"
    calibration.write(folder / calibration.FILE, largest)
    return folder


def image(folder: Path, **changes: Any) -> tuple[Pixels, SdxlEngine]:
    engine = start(folder, **changes)
    lane = engine.start(tiny_model.spec())
    for _ in range(lane.spec.steps):
        engine.step([lane])
    return engine.finish(lane), engine


def test_int8_changes_the_image_and_the_digest(folder: Path) -> None:
    (plain, exact), (pixels, engine) = image(folder), image(folder, quantization="int8")
    # Random weights amplify small errors, so the demo model's test checks how close images are.
    assert 0 < np.abs(pixels.astype(int) - plain.astype(int)).mean() < 20
    model, other = engine.capabilities.model, exact.capabilities.model
    assert (model.dtype, other.dtype) == ("float32+int8", "float32")
    assert model.digest != other.digest


def test_the_demo_model_predicts_nearly_the_same_in_int8() -> None:
    config = load_config(DEMO)
    put = replicate(resolve.mesh(Options(devices=jax.devices()[:1], max_prompt_chunks=1)))
    largest = calibration.read(DEMO / calibration.FILE, UNet.declare(config.unet))
    plain, quantised = (
        load_params(
            locate(DEMO),
            config,
            Dtypes(jnp.float32, jnp.float32, int8=quantise),
            put,
            lambda _: None,
            largest=largest if quantise else None,
        ).unet
        for quantise in (False, True)
    )
    rng = np.random.default_rng(0)
    pooled = config.unet.added_features - 6 * config.unet.time_id_features
    given = (
        jnp.asarray(rng.standard_normal((1, 16, 16, 4), np.float32)),
        jnp.asarray([500.0]),
        jnp.asarray(rng.standard_normal((1, 77, config.unet.context), np.float32)),
        jnp.asarray(rng.standard_normal((1, pooled), np.float32)),
        jnp.full((1, 6), 128.0),
    )
    run = jax.jit(lambda unet: unet(*given))
    wanted = np.asarray(run(plain))
    off = np.asarray(run(quantised)) - wanted
    assert 0 < np.sqrt(np.mean(off**2)) < 0.02 * np.sqrt(np.mean(wanted**2))


def test_several_devices_make_the_same_image_as_one(folder: Path) -> None:
    def make(count: int) -> Pixels:
        engine = start(folder, devices=jax.devices()[:count], quantization="int8")
        lane = engine.start(tiny_model.spec(steps=2))
        engine.step([lane])
        engine.step([lane])
        return engine.finish(lane)

    np.testing.assert_array_equal(make(2), make(1))


def test_abstract_parameters_equal_the_loaded_ones(folder: Path) -> None:
    config, dtypes = load_config(folder), Dtypes(jnp.bfloat16, jnp.bfloat16, int8=True)
    put = replicate(resolve.mesh(Options(devices=jax.devices()[:1], max_prompt_chunks=1)))
    largest = calibration.read(folder / calibration.FILE, UNet.declare(config.unet))
    loaded = load_params(locate(folder), config, dtypes, put, lambda _: None, largest=largest)
    expected = abstract_params(config, dtypes)

    def about(tree: Any) -> Any:
        return jax.tree.map(lambda array: (array.shape, array.dtype), tree)

    assert about(loaded.unet) == about(expected.unet)
    kinds = [array.dtype for array in jax.tree.leaves(loaded.unet)]
    quantised = sum(map(len, selection.shared_inputs(UNet.declare(config.unet))))
    assert kinds.count(jnp.dtype("int8")) == quantised > 0


def test_refuses_to_quantise_twice(folder: Path) -> None:
    config, dtypes = load_config(folder), Dtypes(jnp.float32, jnp.float32)
    declared = UNet.declare(config.unet)
    put = replicate(resolve.mesh(Options(devices=jax.devices()[:1])))
    plain = load_params(locate(folder), config, dtypes, put, lambda _: None).unet
    sizes = [np.ones(shape, np.float32) for shape in calibration.shapes(declared).values()]
    quantised = selection.quantise(plain, sizes)
    assert isinstance(quantised.mid.attentions[0].blocks[0].ff_in, Int8Linear)
    assert isinstance(quantised.mid.attentions[0].blocks[0].attn2.to_k, Linear)
    convolutions = (quantised.mid.resnets[0].conv1, quantised.up[1].resnets[1].conv2)
    assert all(isinstance(each, Int8Conv) for each in convolutions)
    at_full_resolution = (quantised.down[0].resnets[0].conv1, quantised.up[0].resnets[1].conv2)
    for plain_one in (quantised.conv_in, quantised.conv_out, *at_full_resolution):
        assert isinstance(plain_one, Conv)
    with pytest.raises(TypeError, match="already quantised"):
        selection.quantise(quantised, sizes)
    with pytest.raises(TypeError, match="already quantised"):
        quantised.mid.resnets[0].replaced(list)
    with pytest.raises(ValueError, match="shorter"):
        selection.quantise(plain, sizes[:-1])


def test_a_watched_unet_returns_the_largest_input_of_each_layer(folder: Path) -> None:
    config = load_config(folder).unet
    tree = weights.init(UNet.declare(config), jax.random.key(0), jnp.float32)
    rng = np.random.default_rng(0)
    pooled = config.added_features - 6 * config.time_id_features
    given = [
        jnp.asarray(rng.standard_normal(shape, np.float32))
        for shape in (
            (1, 4, 4, config.in_channels),
            (1,),
            (1, 5, config.context),
            (1, pooled),
            (1, 6),
        )
    ]
    seen = watched_unet(config)(tree, *given)
    output = jax.jit(tree.__call__)(*given)
    np.testing.assert_allclose(seen.output, output, atol=1e-5)
    assert {name: size.shape for name, size in seen.largest.items()} == calibration.shapes(
        UNet.declare(config)
    )
    # A layer norm's output has unit variance, so its largest value is above 1 and bounded; and
    # that of a convolution is the silu of such a norm's.
    for ending in ("attn1.to_q", ".conv1", ".conv2"):
        found = [size for name, size in seen.largest.items() if name.endswith(ending)]
        assert found
        assert all(0.5 < float(jnp.max(size)) < 10.0 for size in found)


def test_a_calibration_makes_the_same_images_as_a_worker(folder: Path) -> None:
    options = Options(devices=jax.devices()[:1], sizes=[], max_prompt_chunks=1)
    engine = start(folder)
    defaults = engine.capabilities.defaults
    assert defaults.guidance_scale > 1
    lane = engine.start(tiny_model.spec(seed=5, guidance=defaults.guidance_scale))
    for _ in range(lane.spec.steps):
        engine.step([lane])
    made = Calibration(folder, options, lambda _: None).add(lane.spec.prompt, 5, lane.spec.steps)
    np.testing.assert_allclose(made, lane.state.sample, atol=1e-4)


def test_a_calibration_keeps_the_largest_values_of_all_images(folder: Path) -> None:
    options = Options(devices=jax.devices()[:1], max_prompt_chunks=1)
    texts = [tiny_model.tokens(text) for text in ("a red circle", "a blue square")]

    def largest(*seeds: int) -> dict[str, np.ndarray]:
        calibration_ = Calibration(folder, options, lambda _: None)
        for seed in seeds:
            calibration_.add(texts[seed], seed, 2)
        return calibration_.largest

    first, second = largest(0), largest(1)
    for order in ((0, 1), (1, 0)):
        for name, both in largest(*order).items():
            np.testing.assert_array_equal(both, np.maximum(first[name], second[name]))
    assert any(not np.array_equal(first[name], second[name]) for name in first)


def test_refuses_a_missing_calibration_before_reading_weights(tmp_path: Path) -> None:
    folder = tiny_model.write(tmp_path)
    with pytest.raises(CalibrationError, match="npm run calibrate"):
        SdxlEngine(folder, Options(quantization="int8"))


def test_refuses_a_calibration_of_another_model(folder: Path, tmp_path: Path) -> None:
    names = calibration.shapes(UNet.declare(load_config(folder).unet))
    sizes = {name: np.ones(shape, np.float32) for name, shape in names.items()}
    first = next(iter(names))
    for wrong in (
        sizes | {first: np.ones(3, np.float32)},
        sizes | {"another": np.ones(1, np.float32)},
        {name: size for name, size in sizes.items() if name != first},
    ):
        calibration.write(tmp_path / "wrong", wrong)
        with pytest.raises(CalibrationError, match="made for another model"):
            SdxlEngine(folder, Options(quantization="int8", calibration=tmp_path / "wrong"))
    linear = {name: size for name, size in sizes.items() if ".conv" not in name}
    assert 0 < len(linear) < len(sizes)
    calibration.write(tmp_path / "old", linear)
    with pytest.raises(CalibrationError, match=r"did not measure convolutions: .*npm run calib"):
        SdxlEngine(folder, Options(quantization="int8", calibration=tmp_path / "old"))
    (tmp_path / "no").write_text("no safetensors")
    with pytest.raises(CalibrationError, match="cannot be read"):
        SdxlEngine(folder, Options(quantization="int8", calibration=tmp_path / "no"))


def clipping_pack(x: jax.Array) -> jax.Array:
    """`integers.to_int8` by a cast that clips instead of keeping the low 8 bits."""
    low_bits = lax.bitcast_convert_type(jnp.clip(x, -127.0, 127.0) + 1.5 * 2**23, jnp.int32)
    return jnp.clip(low_bits, -128, 127).astype(jnp.int8)


def test_kernels_whose_cast_clips_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    device, kernels = jax.devices()[0], replace(FAST, interpret=True)
    int8_check.check(kernels, device)
    assert int8_check.rounding(kernels, device) == (512 * 512, 0, None)
    monkeypatch.setattr(integers, "to_int8", clipping_pack)
    wrong = r"cpu rounds \d+ of 262144 .* first -140 to 127 instead of -127, .* METHODS=plain"
    with pytest.raises(WrongRoundingError, match=wrong):
        int8_check.check(kernels, device)


def test_a_worker_checks_how_its_device_rounds_before_it_reads_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_up(x: jax.Array) -> jax.Array:
        return jnp.clip(jnp.floor(x + 0.5), -127, 127).astype(jnp.int8)

    monkeypatch.setattr(int8, "nearest", half_up)
    said: list[str] = []
    with pytest.raises(WrongRoundingError, match="would be wrong: leave out QUANTIZATION"):
        start(folder, report=said.append, quantization="int8")
    assert not any(line.startswith("loading") for line in said)
    start(folder)


def test_refuses_an_unknown_quantization() -> None:
    with pytest.raises(ValueError, match="none, int8"):
        Options(quantization="int4")


def test_the_command_takes_the_workers_dtype(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text("[]")
    command = ["easel-calibrate", "--model", str(folder), "--tokens", str(tokens)]
    monkeypatch.setattr(sys, "argv", [*command, "--dtype", "float16"])
    with pytest.raises(SystemExit, match="--dtype: must be one of auto, bfloat16, float32"):
        main()
    made = tmp_path / "made"
    monkeypatch.setattr(sys, "argv", [*command, "--dtype", "bfloat16", "--to", str(made)])
    main()
    assert made.is_file()
