"""Embeddings: which files are read, and what images of prompts that name them are."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from easel_worker.engine import EmbeddingUse, ImageSpec, InvalidRequest, Tokens
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.folder.embedding_file import (
    NAMES,
    EmbeddingError,
    embedding_shelf,
    read_embedding,
)
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.serving import shelves
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.specs import check
from parity.embeddings import ours
from parity.embeddings.cases import GOLDEN_CASE, IMAGE
from parity.pipeline.ours import LIMIT, SHARE_LIMIT, difference, make, share_different
from parity.report import relative_difference
from tests.sdxl import tiny_model
from tests.sdxl.conftest import FolderMaker
from tests.sdxl.engines import COMPILER, ahead, lowered, start
from tests.sdxl.test_lora_serving import counted_compilations, picture
from tests.sdxl.tiny_model import WORDS, spec

GOLDEN = Path(__file__).parents[1] / "goldens" / "embeddings.npz"
WIDTH = 8
"""Features of both text encoders of the tiny model."""

MOST = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def config(model: Path) -> SdxlConfig:
    return load_config(model)


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, WIDTH), dtype=np.float32)


def write(folder: Path, name: str = "ink", count: int = 2, seed: int = 0, **tensors: Any) -> Path:
    """An embedding of the tiny model, with changes; None leaves a tensor out."""
    values = {"clip_l": vectors(count, seed), "clip_g": vectors(count, seed + 1)} | tensors
    path = folder / f"{name}.safetensors"
    save_file({key: value for key, value in values.items() if value is not None}, path)
    return path


def test_a_file_has_vectors_for_both_encoders(config: SdxlConfig, tmp_path: Path) -> None:
    made = read_embedding(write(tmp_path, count=3), config, MOST)
    assert made.vectors == 3
    np.testing.assert_array_equal(made.first, vectors(3, 0))
    np.testing.assert_array_equal(made.second, vectors(3, 1))


def test_other_names_dtypes_and_a_single_vector_are_read(
    config: SdxlConfig, tmp_path: Path
) -> None:
    first, second = NAMES[1]
    half = vectors(1)[0].astype(ml_dtypes.bfloat16)
    changes = {first: half, second: vectors(1, 1).astype(np.float64)}
    path = write(tmp_path, clip_l=None, clip_g=None, **changes)
    made = read_embedding(path, config, MOST)
    np.testing.assert_array_equal(made.first, half[None].astype(np.float32))
    np.testing.assert_array_equal(made.second, vectors(1, 1))


LARGE = np.full((1, WIDTH), 1e300)
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "one encoder": ({"clip_g": None}, r"has clip_l, but an embedding for SDXL has clip_l and cl"),
    "sd 1.5": ({"clip_l": None, "clip_g": None, "emb_params": vectors(2)}, r"has emb_params, but"),
    "more": ({"t5xxl": vectors(2)}, r"has clip_g, clip_l, t5xxl, but an embedding for SDXL"),
    "width": ({"clip_g": np.ones((2, 9), np.float32)}, r"clip_g has shape \[2, 9\], .* of 8 num"),
    "cube": ({"clip_l": np.ones((1, 2, 8), np.float32)}, r"clip_l has shape \[1, 2, 8\]"),
    "none": ({"clip_l": np.ones((0, 8), np.float32)}, r"clip_l has shape \[0, 8\]"),
    "counts": ({"clip_g": vectors(1)}, r"clip_l has 2 vectors and clip_g has 1, but both"),
    "many": ({"clip_l": vectors(5), "clip_g": vectors(5)}, r"has 5 vectors, .* takes 4 at once"),
    "nan": ({"clip_l": vectors(2) * np.nan}, r"clip_l has numbers that are not finite"),
    "infinite": ({"clip_g": LARGE}, r"clip_g has numbers that are not finite"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_does_not_fit_says_why(name: str, config: SdxlConfig, tmp_path: Path) -> None:
    changes, text = BROKEN[name]
    path = write(tmp_path, **changes)
    with pytest.raises(EmbeddingError, match=text) as raised:
        read_embedding(path, config, MOST)
    assert str(path) in str(raised.value)


def test_what_is_left_out_is_said_once(config: SdxlConfig, tmp_path: Path) -> None:
    lines: list[str] = []
    write(tmp_path)
    write(tmp_path, "wide", clip_g=np.ones((2, 9), np.float32))
    (tmp_path / "torn.safetensors").write_bytes(b"x" * 100)
    (tmp_path / "old.pt").write_bytes(b"x")
    shelf = embedding_shelf(tmp_path, config, MOST, lines.append)
    assert shelf.scan()
    assert not shelf.scan()
    assert list(shelf.table) == ["ink"]
    said = [line.removeprefix("an embedding is left out: ").split(" ")[0] for line in lines]
    assert sorted(Path(path).name.rstrip(":") for path in said) == [
        "old.pt",
        "torn.safetensors",
        "wide.safetensors",
    ]


def test_an_image_equals_diffusers(golden_folder: FolderMaker, tmp_path: Path) -> None:
    case, folder = golden_folder(IMAGE.model.name)
    engine = ours.engine_for(folder, tmp_path, case.shapes, COMPILER)
    wanted = GOLDEN_CASE.spec(engine)
    check(wanted, engine.capabilities)
    golden = np.load(GOLDEN)
    arrays = [array for each in engine.prompts_of(wanted) for array in each.prompt]
    for number, array in enumerate(arrays):
        assert relative_difference(np.asarray(array), golden[f"prompt {number}"]) <= 1e-5
    image = make(engine, wanted, IMAGE.noise())
    assert difference(image, golden["image"]) <= LIMIT
    assert share_different(image, golden["image"]) <= SHARE_LIMIT


@pytest.fixture(scope="module")
def served(
    model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SdxlEngine, Path]]:
    folder = tmp_path_factory.mktemp("embeddings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelves, "SCAN_EVERY_S", 0.05)
        write(folder)
        write(folder, "oil", count=1, seed=5)
        yield start(model, ahead(), embeddings=folder), folder


def named(engine: SdxlEngine, name: str, first_id: int = WORDS) -> EmbeddingUse:
    [found] = [each for each in engine.capabilities.embeddings if each.name == name]
    return EmbeddingUse(name, found.digest, first_id)


def with_words(*ids: int) -> Tokens:
    """A prompt with these ids instead of its first words."""
    plain = tiny_model.tokens("a red circle on blue")
    return Tokens(*((each[0], *ids, *each[1 + len(ids) :]) for each in (plain.ids, plain.ids_2)))


def test_images_depend_on_the_embedding_and_on_nothing_else(
    served: tuple[SdxlEngine, Path],
) -> None:
    engine, _ = served
    assert "embeddings" in engine.capabilities.features
    assert [(each.name, each.vectors) for each in engine.capabilities.embeddings] == [
        ("ink", 2),
        ("oil", 1),
    ]
    ink = named(engine, "ink")
    wanted = spec(prompt=with_words(WORDS, WORDS + 1), embeddings=(ink,))
    elsewhere = spec(
        prompt=with_words(WORDS + 7, WORDS + 8),
        embeddings=(replace(ink, first_id=WORDS + 7), named(engine, "oil")),
    )
    with counted_compilations() as seen:
        before = picture(engine, spec())
        made = picture(engine, wanted)
        np.testing.assert_array_equal(picture(engine, elsewhere), made)
        np.testing.assert_array_equal(picture(engine, spec()), before)
        one = picture(engine, replace(wanted, prompt=with_words(WORDS, WORDS)))
        assert not np.array_equal(made, before)
        assert not np.array_equal(made, one)
        assert seen == []


def test_a_changed_file_is_another_embedding(served: tuple[SdxlEngine, Path]) -> None:
    engine, folder = served
    oil = named(engine, "oil")
    wanted = spec(prompt=with_words(WORDS), embeddings=(oil,))
    made = picture(engine, wanted)
    write(folder, "oil", count=1, seed=9)
    wait_until(lambda: named(engine, "oil") != oil)
    for refused in (lambda: check(wanted, engine.capabilities), lambda: engine.start(wanted)):
        with pytest.raises(InvalidRequest, match=r"the embedding oil with digest .* is not here"):
            refused()
    changed = replace(wanted, embeddings=(named(engine, "oil"),))
    assert not np.array_equal(picture(engine, changed), made)
    (folder / "oil.safetensors").unlink()
    wait_until(lambda: len(engine.capabilities.embeddings) == 1)


def test_ids_that_are_no_embeddings_are_refused(served: tuple[SdxlEngine, Path]) -> None:
    engine, _ = served
    ink = named(engine, "ink")
    wrong: dict[str, ImageSpec] = {
        "prompt has a token id outside 0 to 99": spec(
            prompt=with_words(WORDS + 2), embeddings=(ink,)
        ),
        "embeddings has a first_id outside 100": spec(
            prompt=with_words(WORDS - 1), embeddings=(replace(ink, first_id=WORDS - 1),)
        ),
        "or too near its end": spec(embeddings=(replace(ink, first_id=2**31 - 1),)),
    }
    for message, each in wrong.items():
        with pytest.raises(InvalidRequest, match=message):
            engine.start(each)


def test_weights_and_masks_go_with_vectors(served: tuple[SdxlEngine, Path]) -> None:
    """A masked span of vectors is hidden: the image is another one, and not that without them."""
    engine, _ = served
    prompt = with_words(WORDS, WORDS + 1)
    length = len(prompt.ids)
    weights = (1.0, 0.5, 0.5, *(1.0,) * (length - 3))
    lowered = replace(
        prompt, weights=weights, weights_2=weights, masked=((1, 3),), masked_2=((1, 3),)
    )
    use = {"embeddings": (named(engine, "ink"),)}
    compel = {"weighting": "compel", "empty": tiny_model.tokens("")}
    with counted_compilations() as seen:
        plain = picture(engine, spec(prompt=prompt, **use))
        assert not np.array_equal(picture(engine, spec(prompt=lowered, **use, **compel)), plain)
        assert seen == []


def test_only_the_encoding_of_prompts_differs_with_the_option(model: Path, tmp_path: Path) -> None:
    without, having = (lowered(model, embeddings=each) for each in (None, tmp_path))
    assert without.keys() == having.keys()
    different = {name for name, text in without.items() if having[name] != text}
    assert different == {"encode", "encode masked"}


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise TimeoutError
