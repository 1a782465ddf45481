"""NaN and infinity never become a picture, at any stage and at the start.

The damage is real: weights on disk, an embedding, or a first sample.
"""

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from easel_worker.engine import ImageSpec, NotFinite, Pixels
from easel_worker.sdxl.serving import engine as engine_module
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.programs import State
from easel_worker.sdxl.serving.trial import BrokenModelError, try_size
from easel_worker.values import Size
from tests.sdxl.engines import start
from tests.sdxl.tiny_model import SIZES, spec, tokens, write

POISON = tokens("poison")
STEM = {
    "text_encoder": "model",
    "text_encoder_2": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(name="copy")
def _copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def damage(folder: Path, part: str, name: str, at: Any = ..., value: float = np.nan) -> None:
    """Write a number into a tensor of a model."""
    path = folder / part / f"{STEM[part]}.safetensors"
    tensors = load_file(path)
    tensor = tensors[name].copy()
    tensor[at] = value
    save_file(tensors | {name: tensor}, path)


@pytest.fixture(name="engine", scope="module")
def _engine(folder: Path) -> SdxlEngine:
    return start(folder)


def noise(value: float | None = None) -> NDArray[np.float32]:
    """Noise for an image of the default size, with `value` in one place."""
    made = np.random.default_rng(1).standard_normal((4, 8, 4), dtype=np.float32)
    if value is not None:
        made[1, 2, 3] = value
    return made


def alone(engine: SdxlEngine, wanted: ImageSpec) -> Pixels:
    lane = engine.start(wanted)
    for _ in range(wanted.steps):
        engine.step([lane])
    return engine.finish(lane)


@pytest.mark.parametrize(
    ("part", "tensor", "named"),
    [
        ("text_encoder", "text_model.embeddings.position_embedding.weight", "text_encoder"),
        ("text_encoder_2", "text_model.embeddings.position_embedding.weight", "text_encoder_2"),
        ("text_encoder_2", "text_projection.weight", "text_encoder_2"),
        ("unet", "conv_out.bias", "unet"),
        ("unet", "conv_in.weight", "unet"),
        ("vae", "decoder.conv_out.bias", "vae"),
        ("vae", "decoder.conv_in.weight", "vae"),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_whose_numbers_are_not_finite_does_not_start(
    copy: Path, part: str, tensor: str, named: str, value: float
) -> None:
    if named.startswith("text"):
        # Without this the empty prompt is all that has a text, and its negative is zeros.
        (copy / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    damage(copy, part, tensor, value=value)
    with pytest.raises(
        BrokenModelError, match=rf"the model's {named} computes .* in float32 at"
    ) as it:
        start(copy)
    assert "its weights are damaged: fetch the model again" in str(it.value)


@pytest.mark.parametrize(
    ("part", "tensor", "options", "hint"),
    [
        ("unet", "conv_out.bias", {"dtype": "bfloat16"}, "in bfloat16 .* --dtype float32"),
        ("vae", "decoder.conv_out.bias", {"vae_dtype": "bfloat16"}, "--vae-dtype float32"),
    ],
)
def test_the_error_suggests_a_wider_dtype_first(
    copy: Path, part: str, tensor: str, options: dict[str, str], hint: str
) -> None:
    damage(copy, part, tensor)
    with pytest.raises(BrokenModelError, match=hint):
        start(copy, **options)


def test_a_further_size_whose_numbers_are_not_finite_is_not_offered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = SIZES

    def try_but(runner: Any, about: Any, options: Options, size: Size) -> None:
        if size == second:
            raise BrokenModelError("not finite")
        try_size(runner, about, options, size)

    monkeypatch.setattr(engine_module, "try_size", try_but)
    reports: list[str] = []
    engine = start(folder, report=reports.append, sizes=None, compile_behind=True)
    while engine.capabilities.coming:
        pass
    assert engine.capabilities.sizes == (first,)
    assert "8x8 is not offered: not finite" in reports


def test_a_prompt_whose_embedding_is_not_finite_fails_alone(copy: Path) -> None:
    (token,) = (i for i in POISON.ids if i not in tokens("a red circle").ids)
    damage(copy, "text_encoder", "text_model.embeddings.token_embedding.weight", at=token)
    engine = start(copy)
    good = alone(engine, spec())
    for _ in range(2):  # the second time from memory
        for bad in (spec(prompt=POISON), spec(negative=POISON)):
            with pytest.raises(NotFinite, match=r"^text_encoder produced") as it:
                engine.start(bad)
            assert it.value.stage == "text_encoder"
    assert np.array_equal(alone(engine, spec()), good)


@pytest.mark.parametrize("options", [{}, {"batch_lanes": (1, 2)}, {"max_cache_interval": 3}])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_that_is_not_finite_changes_no_other_image(
    folder: Path, options: dict[str, Any], value: float
) -> None:
    engine = start(folder, **options)
    specs = [spec(seed=1), spec(seed=2, guidance=1.0), spec(seed=3, steps=3)]
    expected = [alone(engine, each) for each in specs]
    lanes = [engine.start(each) for each in specs]
    bad = engine.start(spec(seed=9), noise=noise(value))
    for _ in range(4):
        engine.step([bad, *(lane for lane in lanes if lane.step < lane.spec.steps)])
    assert bad.not_finite is not None
    assert (bad.not_finite.stage, bad.not_finite.where) == ("denoise", "step 1 of 4")
    assert bad.step == 1  # no further step was computed for it
    for lane, image in zip(lanes, expected, strict=True):
        assert lane.not_finite is None
        # A lane that shares a call with another one may differ in its last bits.
        assert np.abs(engine.finish(lane).astype(int) - image).max() <= int(
            "batch_lanes" in options
        )


def test_a_failed_last_step_is_noticed_before_decoding(engine: SdxlEngine) -> None:
    lane = engine.start(spec(steps=2), noise=noise())
    engine.step([lane])
    lane.state = State(lane.state.sample * np.float32(np.inf), lane.state.image)
    engine.step([lane])
    assert lane.not_finite is None  # not read yet
    with pytest.raises(NotFinite, match="step 2 of 2"):
        engine.preview(lane)
    with pytest.raises(NotFinite, match="step 2 of 2"):
        engine.finish(lane)


def test_a_decoder_that_overflows_fails_the_image(engine: SdxlEngine) -> None:
    lane = engine.start(spec(steps=1))
    engine.step([lane])
    lane.state = State(lane.state.sample + np.float32(np.nan), lane.state.image)
    with pytest.raises(NotFinite, match="the decoder produced") as it:
        engine.finish(lane)
    assert it.value.stage == "decode"


def test_a_preview_that_is_not_finite_is_left_out_and_does_not_fail_the_image(
    engine: SdxlEngine,
) -> None:
    expected = alone(engine, spec(steps=2))
    lane = engine.start(spec(steps=2))
    engine.step([lane])
    state = lane.state
    lane.state = State(state.sample, state.image + np.float32(np.nan))
    assert engine.preview(lane) is None
    lane.state = state
    engine.step([lane])
    assert np.array_equal(engine.finish(lane), expected)


def test_devices_that_share_a_guided_image_agree(folder: Path) -> None:
    engine = start(folder, devices=jax.devices()[:4], split_guidance=True)
    good = alone(engine, spec())
    lanes = [engine.start(spec()), engine.start(spec(seed=9), noise=noise(np.nan))]
    for _ in range(4):
        engine.step(lanes)
    assert [lane.not_finite is None for lane in lanes] == [True, False]
    assert np.array_equal(engine.finish(lanes[0]), good)
