"""Models whose UNet takes the mask and the masked picture, on the smallest such model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from easel_worker.calibrate.images import Calibration
from easel_worker.engine import IMAGE_TO_IMAGE, INPAINTING, ImageSpec, NotFinite, Picture
from easel_worker.sdxl.folder.checkpoint import WeightsError
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from tests.sdxl.engines import start
from tests.sdxl.test_pictures import HEIGHT, SCALE, VAE, WIDTH, from_picture, half, make, picture
from tests.sdxl.tiny_model import spec, tokens, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("inpainting"), {"in_channels": 9})


@pytest.fixture(scope="module")
def engine(folder: Path) -> SdxlEngine:
    return start(folder, image_inputs=True, max_cache_interval=2)


def whole_mask(where: NDArray[np.bool_]) -> Picture:
    """A mask that repaints these latents, [h, w], and all pixels of each."""
    pixels = np.where(where, 128, 127).astype(np.uint8).repeat(SCALE, 0).repeat(SCALE, 1)
    return Picture(str(where.tolist()), pixels[..., None])


ALL = whole_mask(np.ones_like(half()))
LEFT = whole_mask(half())


def other_on_the_left() -> Picture:
    """The picture with other pixels where `LEFT` repaints."""
    pixels = picture().pixels.copy()
    pixels[:, : WIDTH // 2] = picture(1).pixels[:, : WIDTH // 2]
    return Picture("other on the left", pixels)


FULL = {"steps": 3, "schedule_steps": 3}


def test_the_unet_gets_the_mask_and_the_picture_without_what_is_repainted(
    engine: SdxlEngine,
) -> None:
    lane = engine.start(from_picture(mask=LEFT))
    inputs = np.asarray(lane.inpainting)
    assert inputs.shape == (HEIGHT // SCALE, WIDTH // SCALE, 5)
    assert np.array_equal(inputs[..., 0], half())
    same = engine.start(from_picture(mask=LEFT, image=other_on_the_left()))
    assert np.array_equal(np.asarray(same.inpainting), inputs)
    assert lane.background is None


@pytest.mark.parametrize("scheduler", ["euler", "dpmpp_2m", "heun", "ddim"])
def test_what_is_repainted_does_not_matter_at_full_strength(
    engine: SdxlEngine, scheduler: str
) -> None:
    wanted = from_picture(mask=LEFT, scheduler=scheduler, cache_interval=2, **FULL)
    other = replace(wanted, image=other_on_the_left())
    assert np.array_equal(make(engine, wanted), make(engine, other))
    weaker = {"schedule_steps": 4}
    one, two = (make(engine, replace(each, **weaker)) for each in (wanted, other))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    "change",
    [
        {"image": picture(1)},
        {"mask": ALL},
        {"mask": whole_mask(~half())},
        {"schedule_steps": 7},
        {"seed": 2},
    ],
)
@pytest.mark.parametrize("length", [{}, FULL], ids=["part", "whole"])
def test_all_that_decides_an_image_matters(
    engine: SdxlEngine, change: dict[str, Any], length: dict[str, int]
) -> None:
    plain = from_picture(mask=LEFT, **length)
    assert not np.array_equal(make(engine, plain), make(engine, replace(plain, **change)))


def test_an_image_without_a_mask_is_one_with_a_mask_of_everything(engine: SdxlEngine) -> None:
    for length in ({}, FULL):
        wanted = from_picture(**length)
        assert np.array_equal(make(engine, wanted), make(engine, replace(wanted, mask=ALL)))


def test_an_image_from_text_is_one_whose_picture_is_all_repainted(engine: SdxlEngine) -> None:
    from_text = make(engine, spec(steps=3))
    assert np.array_equal(make(engine, from_picture(mask=ALL, **FULL)), from_text)
    assert not np.array_equal(make(engine, from_picture(mask=ALL)), from_text)


def test_latents_are_all_repainted_as_a_picture_is(engine: SdxlEngine) -> None:
    """Both UNet inputs are those of an image without a mask; only the first sample differs."""
    small = np.random.default_rng(0).standard_normal((3, 5, 4), "<f4").view(np.uint8)
    begun = Picture("latents", small)
    wanted = spec(steps=3, schedule_steps=6, latents=begun, latents_upscaler="latent-bicubic")
    lane, other = engine.start(wanted), engine.start(from_picture())
    assert np.array_equal(np.asarray(lane.inpainting), np.asarray(other.inpainting))
    assert not np.array_equal(lane.state.sample, other.state.sample)
    assert make(engine, wanted).shape == make(engine, from_picture()).shape


def test_previews_and_unguided_steps(engine: SdxlEngine) -> None:
    wanted = from_picture(mask=LEFT, guidance_end=0.5, cache_interval=2)
    lane = engine.start(wanted)
    while lane.step < wanted.steps:
        engine.step([lane])
        assert engine.preview(lane) is not None
    assert not np.array_equal(engine.finish(lane), make(engine, replace(wanted, guidance_end=1.0)))


def test_four_devices_make_the_same_images(engine: SdxlEngine, folder: Path) -> None:
    four = start(folder, devices=jax.devices()[:4], image_inputs=True)
    pairs = start(folder, devices=jax.devices()[:4], image_inputs=True, split_guidance=True)
    for wanted in (spec(), from_picture(), from_picture(mask=LEFT)):
        expected = make(engine, wanted)
        assert np.array_equal(make(four, wanted), expected)
        off = np.abs(make(pairs, wanted).astype(int) - expected.astype(int))
        assert off.max() <= 1


def test_a_worker_without_pictures_makes_images_from_text(engine: SdxlEngine, folder: Path) -> None:
    without = start(folder)
    assert not {IMAGE_TO_IMAGE, INPAINTING} & set(without.capabilities.features)
    assert {IMAGE_TO_IMAGE, INPAINTING} < set(engine.capabilities.features)
    assert np.array_equal(make(without, spec()), make(engine, spec()))


def test_a_vae_without_an_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    model = write(tmp_path / "decoder", {"in_channels": 9})
    decoding = {
        name: tensor
        for name, tensor in load_file(model / VAE).items()
        if not name.startswith(("encoder.", "quant_conv."))
    }
    save_file(decoding, model / VAE)
    with pytest.raises(
        WeightsError, match="no encoder, which this model needs for pictures: set VAE"
    ):
        start(model)


def test_latents_that_are_not_finite_fail_their_image(tmp_path: Path) -> None:
    broken = start(write(tmp_path / "broken", {"in_channels": 9}))
    encoder = broken._warm_runner._beginner._encoder
    assert encoder is not None
    nan = replace(encoder.conv_in, bias=encoder.conv_in.bias * np.nan)
    broken._warm_runner._beginner._encoder = replace(encoder, conv_in=nan)
    with pytest.raises(NotFinite, match="the VAE's encoder") as caught:
        broken.start(spec())
    assert caught.value.stage == "decode"


def test_a_calibration_makes_the_workers_latents(folder: Path, engine: SdxlEngine) -> None:
    options = Options(devices=jax.devices()[:1], max_prompt_chunks=1, image_inputs=False)
    made = Calibration(folder, options, lambda _: None).add(tokens("a red circle"), seed=3)
    wanted: ImageSpec = spec("a red circle", seed=3)
    lane = engine.start(wanted)
    while lane.step < wanted.steps:
        engine.step([lane])
    np.testing.assert_allclose(made, lane.state.sample, atol=1e-4)
