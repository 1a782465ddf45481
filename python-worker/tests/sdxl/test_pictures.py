"""Images that begin from a picture, on the smallest model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from easel_worker.engine import (
    IMAGE_TO_IMAGE,
    INPAINTING,
    ImageSpec,
    NotFinite,
    Picture,
    Pixels,
)
from easel_worker.sdxl.folder.checkpoint import WeightsError
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.picture_programs import MASKED_DRAW, POSTERIOR_DRAW, draw
from easel_worker.sdxl.serving.programs import draw_noise
from tests.sdxl.engines import start
from tests.sdxl.tiny_model import spec, write

WIDTH, HEIGHT, SCALE = 16, 8, 2
VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> SdxlEngine:
    return start(folder, image_inputs=True, max_cache_interval=2)


def picture(seed: int = 0, channels: int = 3) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, channels), np.uint8)
    return Picture(f"{seed} {channels}", pixels)


def mask(where: NDArray[np.bool_]) -> Picture:
    """A mask that repaints these latents, [h, w]; only the pixel at each latent's corner counts."""
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 1), np.uint8)
    pixels[::SCALE, ::SCALE, 0] = np.where(where, 128, 127)
    return Picture(str(where.tolist()), pixels)


def half() -> NDArray[np.bool_]:
    where = np.zeros((HEIGHT // SCALE, WIDTH // SCALE), np.bool_)
    where[:, : WIDTH // SCALE // 2] = True
    return where


def from_picture(**changes: Any) -> ImageSpec:
    return spec(**{"image": picture(), "steps": 3, "schedule_steps": 6} | changes)


def make(engine: SdxlEngine, wanted: ImageSpec) -> Pixels:
    lane = engine.start(wanted)
    while lane.step < wanted.steps:
        engine.step([lane])
    return engine.finish(lane)


@pytest.mark.parametrize(
    "change",
    [
        {"image": picture(1)},
        {"image": None, "schedule_steps": 3},
        {"schedule_steps": 7},
        {"seed": 2},
        {"mask": mask(half())},
        {"mask": mask(~half())},
    ],
)
def test_all_that_decides_an_image_matters(engine: SdxlEngine, change: dict[str, Any]) -> None:
    plain, changed = from_picture(), replace(from_picture(), **change)
    assert not np.array_equal(make(engine, plain), make(engine, changed))


@pytest.mark.parametrize("scheduler", ["euler", "dpmpp_2m", "heun", "dpm2_ancestral", "ddim"])
@pytest.mark.parametrize("whole", [False, True], ids=["part", "whole"])
def test_latents_that_a_mask_keeps_are_the_pictures(
    engine: SdxlEngine, scheduler: str, whole: bool
) -> None:
    """Also at full strength, with cached steps; what is repainted is what the model makes."""
    where = half()
    length = {"schedule_steps": 3} if whole else {}
    wanted = from_picture(scheduler=scheduler, mask=mask(where), cache_interval=2, **length)
    lane = engine.start(wanted)
    assert lane.background is not None
    known = np.asarray(lane.background.latents)
    states = []
    while lane.step < wanted.steps:
        engine.step([lane])
        states.append(lane.state)
    for state in states:  # so previews show the picture
        assert np.array_equal(np.asarray(state.image)[~where], known[~where])
    last = np.asarray(states[-1].sample)
    assert np.array_equal(last[~where], known[~where])
    assert not np.any(last[where] == known[where])


def test_a_mask_of_everything_begins_from_noise_at_full_strength(engine: SdxlEngine) -> None:
    everything = mask(np.ones_like(half()))
    wanted = from_picture(schedule_steps=3, mask=everything)
    plain = make(engine, replace(wanted, image=None, mask=None))
    assert np.array_equal(make(engine, wanted), plain)
    weaker = replace(wanted, schedule_steps=4)
    assert np.array_equal(make(engine, weaker), make(engine, replace(weaker, mask=None)))


def test_a_mask_of_nothing_gives_back_the_picture(engine: SdxlEngine) -> None:
    nothing = mask(np.zeros_like(half()))
    seeds = [make(engine, from_picture(mask=nothing, scheduler=s)) for s in ("euler", "ddim")]
    assert np.array_equal(*seeds)


@given(seed=st.integers(0, 2**32 - 1), step=st.integers(0, 2**32 - 3))
def test_no_other_draw_is_the_pictures(seed: int, step: int) -> None:
    shape = (2, 2, 4)
    made = draw(np.uint32(seed), shape=shape)
    assert np.array_equal(made.first, draw_noise(np.uint32(seed), 0, shape=shape))
    masked = draw_noise(np.uint32(seed), MASKED_DRAW, shape=shape)
    other = draw_noise(np.uint32(seed), np.uint32(step), shape=shape)
    for one in (made.posterior, masked):
        assert not np.array_equal(one, other)
    assert not np.array_equal(made.posterior, masked)
    assert (POSTERIOR_DRAW, MASKED_DRAW) == (2**32 - 1, 2**32 - 2)


def test_four_devices_make_the_same_images(engine: SdxlEngine, folder: Path) -> None:
    four = start(folder, devices=jax.devices()[:4], image_inputs=True)
    for wanted in (from_picture(), from_picture(mask=mask(half()))):
        assert np.array_equal(make(four, wanted), make(engine, wanted))


def test_a_vae_without_an_encoder_offers_no_pictures(folder: Path, tmp_path: Path) -> None:
    plain = start(folder)
    model = write(tmp_path / "decoder")
    tensors = load_file(model / VAE)
    decoding = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith(("encoder.", "quant_conv."))
    }
    assert len(decoding) < len(tensors)
    save_file(decoding, model / VAE)
    said: list[str] = []
    decoder_only = start(model, report=said.append, image_inputs=True)
    assert not {IMAGE_TO_IMAGE, INPAINTING} & set(decoder_only.capabilities.features)
    assert any("the vae has no encoder" in line for line in said)
    assert np.array_equal(make(decoder_only, spec()), make(plain, spec()))
    save_file(decoding | {"quant_conv.bias": tensors["quant_conv.bias"]}, model / VAE)
    with pytest.raises(WeightsError, match=r"missing tensor encoder\.conv_in\.weight"):
        start(model)


def test_latents_that_are_not_finite_fail_their_image_alone(folder: Path, tmp_path: Path) -> None:
    model = write(tmp_path / "broken")
    broken = start(model, image_inputs=True)
    encoder = broken._warm_runner._beginner._encoder
    assert encoder is not None
    nan = replace(encoder.conv_in, bias=encoder.conv_in.bias * np.nan)
    broken._warm_runner._beginner._encoder = replace(encoder, conv_in=nan)
    with pytest.raises(NotFinite, match="the VAE's encoder") as caught:
        broken.start(from_picture())
    assert caught.value.stage == "decode"
    assert make(broken, spec()).shape == (HEIGHT, WIDTH, 3)


def test_an_image_that_begins_from_latents_of_its_size_is_noised_as_a_picture_is(
    engine: SdxlEngine,
) -> None:
    lane = engine.start(from_picture(mask=mask(half())))
    assert lane.background is not None
    known = np.asarray(lane.background.latents)
    begun = Picture("latents", known.astype("<f4").view(np.uint8))
    same = from_picture(image=None, latents=begun, latents_upscaler="latent-nearest-exact")
    assert np.array_equal(make(engine, same), make(engine, from_picture()))
    small = Picture("small", np.ascontiguousarray(known[:2, :5]).astype("<f4").view(np.uint8))
    images = [
        make(engine, replace(same, latents=small, latents_upscaler=upscaler))
        for upscaler in ("latent", "latent-bicubic", "latent-nearest")
    ]
    assert len({image.tobytes() for image in images}) == 3


def test_latents_are_what_the_image_would_be_decoded_from(engine: SdxlEngine, folder: Path) -> None:
    four = start(folder, devices=jax.devices()[:4], image_inputs=True)
    made = []
    for each in (engine, four):
        lane = each.start(spec(output_type="latent"))
        with pytest.raises(ValueError, match="has steps left"):
            each.latents(lane)
        while lane.step < 4:
            each.step([lane])
        made.append(each.latents(lane))
        assert np.array_equal(each.finish(lane), make(each, spec()))
    assert made[0].shape == (HEIGHT // SCALE, WIDTH // SCALE, 4)
    assert made[0].dtype == np.float32
    assert np.array_equal(*made)


def test_a_worker_may_leave_pictures_out(engine: SdxlEngine, folder: Path) -> None:
    without = start(folder)
    assert not {IMAGE_TO_IMAGE, INPAINTING} & set(without.capabilities.features)
    assert not without._warm_runner.has_encoder
    assert {IMAGE_TO_IMAGE, INPAINTING} < set(engine.capabilities.features)
