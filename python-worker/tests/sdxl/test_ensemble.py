"""A model with a refiner: what it offers, what fits, what the two share, and what each gets."""

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from easel_worker.engine import (
    AESTHETIC_SCORE,
    REFINER,
    InvalidRequest,
    Pixels,
)
from easel_worker.sdxl.folder.config_reader import ConfigError
from easel_worker.sdxl.serving.describe import describe
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from tests.sdxl.engines import start
from tests.sdxl.tiny_model import spec, write, write_refiner

TEXT = "text_encoder_2/model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def refiner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_refiner(tmp_path_factory.mktemp("refiners") / "tiny-refiner")


@pytest.fixture(scope="module")
def engine(folder: Path, refiner: Path) -> SdxlEngine:
    return start(folder, refiner=refiner, rows=4)


def image(engine: SdxlEngine, **changes: Any) -> Pixels:
    wanted = spec(**({"denoising_end": 0.5} | changes))
    lane = engine.start(wanted)
    while lane.step < wanted.steps:
        engine.step([lane])
    return engine.finish(lane)


def test_it_offers_what_the_refiner_brings(folder: Path, engine: SdxlEngine) -> None:
    offered, plain = engine.capabilities, start(folder, rows=4).capabilities
    assert {REFINER, AESTHETIC_SCORE} <= set(offered.features) - set(plain.features)
    assert offered.coming_features == ()
    assert offered.model.refiner == "tiny-refiner"
    assert offered.model.digest != plain.model.digest
    names = {program.name for program in offered.programs}
    own = {name for name in names if name.startswith("refiner ")}
    assert names - own == {program.name for program in plain.programs}
    assert not [name for name in own if "decode" in name or "begin" in name]


def test_an_image_without_it_has_the_bytes_of_a_model_without_it(
    folder: Path, engine: SdxlEngine
) -> None:
    plain = start(folder, rows=4)
    wanted = spec()
    lane = plain.start(wanted)
    while lane.step < wanted.steps:
        plain.step([lane])
    assert np.array_equal(image(engine, denoising_end=wanted.denoising_end), plain.finish(lane))


def test_the_refiner_gets_its_own_conditions_where_it_takes_over(engine: SdxlEngine) -> None:
    wanted = spec(denoising_end=0.5, aesthetic_score=9.0, original_size=(64, 32))
    lane = engine.start(wanted)
    model, before = lane.unet, np.asarray(lane.conditions.time_ids)
    assert before.tolist() == [[64, 32, 0, 0, 8, 16]] * 2
    while lane.evaluation != lane.handover:
        assert lane.unet is model
        engine.step([lane])
    assert lane.unet is not model
    after = np.asarray(lane.conditions.time_ids)
    assert after.tolist() == [[64, 32, 0, 0, 2.5], [64, 32, 0, 0, 9]]
    assert lane.refiner_prompts == ()


def test_where_it_takes_over_decides_the_image(engine: SdxlEngine) -> None:
    made = image(engine)
    assert not np.array_equal(image(engine, denoising_end=0.3), made)
    assert not np.array_equal(image(engine, denoising_end=spec().denoising_end), made)
    assert np.array_equal(image(engine), made)


def test_one_of_the_two_without_a_step_is_refused(engine: SdxlEngine) -> None:
    with pytest.raises(InvalidRequest, match="no step to the refiner: choose a lower one"):
        engine.start(spec(denoising_end=0.999))
    with pytest.raises(InvalidRequest, match="no step to the model: choose a higher one"):
        engine.start(spec(denoising_end=0.01))


def test_lanes_of_the_two_models_do_not_share_a_step(engine: SdxlEngine) -> None:
    refined, other = engine.start(spec(denoising_end=0.5)), engine.start(spec(seed=2))
    while refined.shape == other.shape:
        engine.step([refined, other])
    assert refined.evaluation == refined.handover
    with pytest.raises(ValueError, match="cannot share a step"):
        engine.step([refined, other])


def test_equal_weights_are_there_once(folder: Path, refiner: Path, tmp_path: Path) -> None:
    """Each tensor of the refiner's text encoder that equals the model's takes no memory."""
    lines: list[str] = []
    shared = start(folder, report=lines.append, refiner=refiner, rows=4)
    stored = load_file(refiner / TEXT)
    whole = sum(tensor.nbytes for tensor in stored.values())
    assert f"shares {whole / 1e6:.1f} MB of its text encoder" in "\n".join(lines)

    other = shutil.copytree(refiner, tmp_path / "other")
    name = "text_model.encoder.layers.0.mlp.fc1.weight"
    save_file({**stored, name: stored[name] + 1}, other / TEXT)
    lines.clear()
    own = start(folder, report=lines.append, refiner=other, rows=4)
    rest = whole - stored[name].nbytes
    assert f"shares {rest / 1e6:.1f} MB of its text encoder" in "\n".join(lines)
    assert not np.array_equal(image(own), image(shared))
    assert own.capabilities.model.digest != shared.capabilities.model.digest


def test_what_cannot_continue_the_model_is_refused(
    folder: Path, refiner: Path, tmp_path: Path
) -> None:
    def described(model: Path, with_: Path) -> None:
        describe(model, Options(devices=jax.devices()[:1], refiner=with_))

    described(folder, refiner)
    with pytest.raises(ConfigError, match="it is no refiner as SDXL's"):
        described(folder, folder)
    with pytest.raises(ConfigError, match="the model is a refiner itself"):
        described(write_with_vae(refiner, folder, tmp_path / "whole"), refiner)
    inpainting = write(tmp_path / "inpainting", {"in_channels": 9})
    with pytest.raises(ConfigError, match="the model is an inpainting model"):
        described(inpainting, refiner)
    lcm = write(tmp_path / "lcm", {"time_cond_proj_dim": 8})
    with pytest.raises(ConfigError, match="takes the guidance scale as an input"):
        described(lcm, refiner)
    trained = write_refiner(tmp_path / "v", {"prediction_type": "v_prediction"})
    with pytest.raises(ConfigError, match="another prediction_type, num_train_timesteps or other"):
        described(folder, trained)
    worded = shutil.copytree(refiner, tmp_path / "worded")
    merges = worded / "tokenizer_2" / "merges.txt"
    merges.write_text(merges.read_text() + "\n")
    vocabulary = worded / "tokenizer_2" / "vocab.json"
    vocabulary.write_text(vocabulary.read_text().replace("}", ', "more": 100}'))
    with pytest.raises(ConfigError, match="its tokenizer_2 is another one"):
        described(folder, worded)


def write_with_vae(refiner: Path, model: Path, target: Path) -> Path:
    """A refiner that is a model by itself."""
    whole = shutil.copytree(refiner, target)
    shutil.copytree(model / "vae", whole / "vae", dirs_exist_ok=True)
    return whole
