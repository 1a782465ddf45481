"""SDXL's refiner: one text encoder, aesthetic scores, and no image without a picture."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from msgspec import UNSET
from safetensors.numpy import save_file

from easel_worker.engine import (
    AESTHETIC_SCORE,
    IMAGE_TO_IMAGE,
    PICTURES_ONLY,
    EmbeddingUse,
    Pixels,
)
from easel_worker.sdxl.folder.config import read_config
from easel_worker.sdxl.folder.config_reader import ConfigError
from easel_worker.sdxl.folder.files import BASE, locate
from easel_worker.sdxl.folder.original_names import original_keys
from easel_worker.sdxl.model.config import UNetConfig
from easel_worker.sdxl.model.params import declared
from easel_worker.sdxl.model.text_encoder import TextEncoder
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.model.vae import Vae
from easel_worker.sdxl.serving.describe import describe
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from parity.cases import REFINER
from parity.pipeline.cases import REFINER_CASES, PipelineCase
from parity.pipeline.ours import engine_for, make
from tests.sdxl.conftest import FolderMaker
from tests.sdxl.engines import COMPILER

CASE: PipelineCase = REFINER_CASES[0]


@pytest.fixture(scope="module")
def folder(golden_folder: FolderMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    _, original = golden_folder(REFINER.name)
    copy = shutil.copytree(original, tmp_path_factory.mktemp("refiner") / "model")
    CASE.complete(copy)
    return copy


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embeddings")
    vectors = {"clip_l": np.ones((1, 16), np.float32), "clip_g": np.ones((1, 24), np.float32)}
    save_file(vectors, folder / "ink.safetensors")
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path, embeddings: Path) -> SdxlEngine:
    return engine_for(CASE, folder, embeddings=embeddings, compiler=COMPILER)


def image(engine: SdxlEngine, **changes: Any) -> Pixels:
    spec = replace(CASE.spec(), **{"steps": 2, "schedule_steps": 4, **changes})
    return make(engine, spec, CASE.noise(), CASE.posterior())


def test_it_says_what_it_is(folder: Path, engine: SdxlEngine) -> None:
    offered = engine.capabilities
    assert {AESTHETIC_SCORE, PICTURES_ONLY, IMAGE_TO_IMAGE} <= set(offered.features)
    first, second = offered.tokenizers
    assert first == second
    assert describe(folder, Options(devices=jax.devices()[:1])).config.text_encoder is None


def test_scores_count_in_the_place_of_the_target_size(engine: SdxlEngine) -> None:
    plain = image(engine)
    assert np.array_equal(image(engine, target_size=(512, 512)), plain)
    for change in ({"aesthetic_score": 1.0}, {"negative_aesthetic_score": 9.0}):
        assert not np.array_equal(image(engine, **change), plain)
        other = image(engine, guidance=1.0, **change)
        unguided = np.array_equal(other, image(engine, guidance=1.0))
        assert unguided == ("negative_aesthetic_score" in change)


def test_the_prompt_is_that_of_the_second_text_encoder(engine: SdxlEngine) -> None:
    prompt, other = CASE.tokens("a red circle"), CASE.tokens("a blue square")
    plain = image(engine, prompt=prompt)
    assert np.array_equal(image(engine, prompt=replace(prompt, ids=other.ids)), plain)
    assert not np.array_equal(image(engine, prompt=replace(prompt, ids_2=other.ids_2)), plain)


def test_prompts_have_weights_and_embeddings(engine: SdxlEngine) -> None:
    prompt = CASE.tokens("a red circle")
    plain = image(engine, prompt=prompt)
    weights = (1.0, 0.3, 1.7, *(1.0 for _ in prompt.ids[3:]))
    weighted = replace(prompt, weights=weights, weights_2=weights)
    assert not np.array_equal(image(engine, prompt=weighted, weighting="a1111"), plain)
    ones = tuple(1.0 for _ in prompt.ids)
    same = image(engine, prompt=replace(prompt, weights_2=ones), weighting="a1111")
    assert np.abs(same.astype(int) - plain.astype(int)).max() <= 1
    (ink,) = engine.capabilities.embeddings
    use = EmbeddingUse(ink.name, ink.digest, first_id=2000)
    ids = (prompt.ids_2[0], 2000, *prompt.ids_2[2:])
    named = replace(prompt, ids=ids, ids_2=ids, weights=UNSET)
    assert not np.array_equal(image(engine, prompt=named, embeddings=(use,)), plain)


def test_it_needs_pictures(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"changes pictures .*: leave IMAGE_INPUTS true"):
        describe(folder, Options(devices=jax.devices()[:1], image_inputs=False))


def test_a_unet_for_scores_without_them_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | {"requires_aesthetics_score": False}))
    with pytest.raises(ConfigError, match="text_encoder_2 and 6 sizes and scores need"):
        read_config(locate(copy))


def published() -> UNetConfig:
    """The UNet of SDXL refiner 1.0."""
    return replace(
        read_config(locate(BASE)).unet,
        channels=(384, 768, 1536, 1536),
        layers=(2, 2, 2, 2),
        down_transformers=((), (4, 4), (4, 4), ()),
        mid_transformers=(4,),
        up_transformers=((), (4, 4, 4), (4, 4, 4), ()),
        heads=(6, 12, 24, 24),
        context=1280,
        added_features=2560,
    )


def test_a_single_file_without_configs_is_recognised(tmp_path: Path) -> None:
    """By the only text encoder's place; it gets the published configs."""
    base, nothing = read_config(locate(BASE)), np.zeros(0, np.float32)
    trees = {
        "conditioner.embedders.0.model.": (
            "text_encoder_2",
            TextEncoder.declare(base.text_encoder_2),
        ),
        "model.diffusion_model.": ("unet", UNet.declare(published())),
        "first_stage_model.": ("vae", Vae.declare(base.vae)),
    }
    names = {
        key: nothing
        for prefix, (component, tree) in trees.items()
        for key in original_keys(component, prefix, declared(tree)).values()
    }
    names["model.diffusion_model.input_blocks.0.0.weight"] = np.zeros((0, 4), np.float32)
    save_file(names, tmp_path / "refiner.safetensors")
    files = locate(tmp_path / "refiner.safetensors")
    config = read_config(files)
    assert config.unet == published()
    assert (config.text_encoder, config.text_encoder_2) == (None, base.text_encoder_2)
    assert config.aesthetic_scores
    assert config.pictures_only
    assert not config.force_zeros_for_empty_prompt
    assert set(files.components) == {"text_encoder_2", "unet", "vae"}
    assert files.tokenizers == (BASE / "tokenizer_2", BASE / "tokenizer_2")
