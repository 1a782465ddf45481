"""LoRAs: what files are read, and that merged weights equal those of the reference libraries."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.lora import metadata
from easel_worker.sdxl.lora.file import LoraError, read_lora
from easel_worker.sdxl.lora.merge import Factors, Merged, Weighted, merge
from easel_worker.sdxl.lora.shelf import lora_shelf
from easel_worker.sdxl.lora.targets import Targets
from easel_worker.sdxl.model.config import SdxlConfig
from parity.loras import ours
from parity.loras.cases import IMAGE, LORA_CASES, LoraCase
from parity.loras.files import FILES, LoraFile
from tests.sdxl import tiny_model
from tests.sdxl.conftest import FolderMaker

GOLDEN = Path(__file__).parents[1] / "goldens" / "loras.npz"

LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
"""A layer of the tiny model, from 16 to 16 channels."""

KOHYA = f"lora_unet_{LAYER.replace('.', '_')}"


@pytest.fixture(scope="module")
def goldens() -> Mapping[str, Any]:
    return dict(np.load(GOLDEN))


@pytest.fixture(scope="module")
def model(golden_folder: FolderMaker) -> tuple[SdxlConfig, ours.Weights]:
    case, folder = golden_folder(IMAGE.model.name)
    return load_config(folder), {part: case.weights(part) for part in case.shapes}


@pytest.mark.parametrize("case", LORA_CASES, ids=lambda case: case.name)
def test_merged_weights_equal_the_libraries(
    case: LoraCase, model: tuple[SdxlConfig, ours.Weights], goldens: Mapping[str, Any]
) -> None:
    config, weights = model
    names, sums = ours.fingerprint(ours.merged(case, config, weights), weights)
    assert names == list(goldens[f"{case.name}/names"])
    expected = goldens[f"{case.name}/sums"]
    np.testing.assert_allclose(sums, expected, atol=1e-5 * expected[:, 1].max())


@pytest.mark.parametrize("component", ["unet", "text_encoder_2"])
def test_products_for_the_devices_are_the_same_changes(
    component: str, model: tuple[SdxlConfig, ours.Weights], tmp_path: Path
) -> None:
    config, weights = model
    [case] = [case for case in LORA_CASES if len(case.uses) == 2 and case.reference == "diffusers"]
    own = ours.Model(config, weights, component)
    uses = own.uses(case, tmp_path)
    whole = {each.key: each for each in merge(uses, component, own.base)}
    products = list(merge(uses, component, own.base, most_rank=8))
    assert {each.key for each in products} == set(whole)
    for each in products:
        expected = whole[each.key]
        assert isinstance(each, Factors)
        assert isinstance(expected, Merged)
        product = (each.down.T @ each.up.T).reshape(expected.values.shape)
        np.testing.assert_allclose(own.base(each.key) + product, expected.values, atol=1e-6)
    few = merge(uses, component, own.base, most_rank=7)
    assert any(isinstance(each, Merged) for each in few), "both ranks together are 8"


def test_goldens_cover_exactly_the_cases(goldens: Mapping[str, Any]) -> None:
    assert {name.partition("/")[0] for name in goldens} == {
        "stamp",
        *(case.name for case in LORA_CASES),
    }


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("peft", "lora"),
        ("kohya-original-locon", "locon"),
        ("locon-tucker", "locon"),
        ("peft-dora", "dora"),
        ("loha", "loha"),
        ("lokr-whole", "lokr"),
        ("norm", "full"),
    ],
)
def test_a_file_says_its_kind(
    file: str, kind: str, model: tuple[SdxlConfig, ours.Weights], tmp_path: Path
) -> None:
    config, weights = model
    shapes = {part: {n: a.shape for n, a in each.items()} for part, each in weights.items()}
    assert read_lora(FILES[file].write(tmp_path, shapes), Targets(config)).kind == kind


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Targets:
    return Targets(load_config(tiny_model.write(tmp_path_factory.mktemp("tiny"))))


def write(folder: Path, name: str = "ink", **tensors: NDArray[Any]) -> Path:
    """A LoRA of rank 2 for one layer of the tiny model, with changes; None leaves a tensor out."""
    values = {
        f"{KOHYA}.lora_down.weight": np.ones((2, 16), np.float32),
        f"{KOHYA}.lora_up.weight": np.ones((16, 2), np.float32),
    }
    values |= {f"{KOHYA}.{part}": value for part, value in tensors.items()}
    path = folder / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value for key, value in values.items() if value is not None}, path)
    return path


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no up": ({"lora_up.weight": None}, r"parts make no change that is known: down"),
    "alpha of two": ({"alpha": np.ones(2, np.float32)}, r"alpha has shape \[2\]"),
    "rank": ({"lora_up.weight": np.ones((16, 3), np.float32)}, r"do not fit each other"),
    "outputs": (
        {"lora_up.weight": np.ones((8, 2), np.float32)},
        r"8×16, but this model's is 16×16",
    ),
    "mixed": ({"hada_w1_a": np.ones((16, 2), np.float32)}, r"make no change that is known"),
    "magnitude": ({"dora_scale": np.ones(3, np.float32)}, r"magnitudes of DoRA do not fit"),
    "bias": ({"diff_b": np.ones(16, np.float32)}, r"diff_b fits no bias"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_change_that_fits_no_layer_is_an_error(name: str, tiny: Targets, tmp_path: Path) -> None:
    changes, text = BROKEN[name]
    with pytest.raises(LoraError, match=text) as raised:
        read_lora(write(tmp_path, **changes), tiny)
    assert "ink.safetensors" in str(raised.value)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("lora_unet_down_blocks_9_to_q.lora_up.weight", "fits no layer of this model"),
        ("text_encoder_3.encoder.lora_A.weight", "fits no layer of this model"),
        (f"{KOHYA}.oft_blocks", "is no tensor of a LoRA that is known"),
        ("bundle_emb.ink.string_to_param.*", "is no tensor of a LoRA that is known"),
        (f"unet.{LAYER}.lora_A.weight", "is also in the file as"),
    ],
)
def test_an_error_names_the_tensor(key: str, text: str, tiny: Targets, tmp_path: Path) -> None:
    path = write(tmp_path)
    save_file(load_file(path) | {key: np.ones((2, 16), np.float32)}, path)
    with pytest.raises(LoraError, match=text) as raised:
        read_lora(path, tiny)
    assert f"{path}: {key} " in str(raised.value) or key.startswith("unet.")


def test_numbers_that_are_not_finite_are_an_error(tiny: Targets, tmp_path: Path) -> None:
    bad = np.full((16, 2), np.inf, np.float32)
    lora = read_lora(write(tmp_path, **{"lora_up.weight": bad}), tiny)
    with pytest.raises(LoraError, match=r"lora_up\.weight has numbers that are not finite"):
        list(merge([Weighted(lora, 1.0)], "unet", lambda _: np.ones((16, 16), np.float32)))


def test_an_alpha_of_zero_and_a_missing_one_mean_a_scale_of_one(
    tiny: Targets, tmp_path: Path
) -> None:
    def merged(**alpha: Any) -> NDArray[np.float32]:
        lora = read_lora(write(tmp_path, **alpha), tiny)
        [made] = merge([Weighted(lora, 1.0)], "unet", lambda _: np.ones((16, 16), np.float32))
        return made.values

    assert np.array_equal(merged(), np.full((16, 16), 3.0))
    assert np.array_equal(merged(alpha=np.array(0, np.float32)), merged())
    assert np.array_equal(merged(alpha=np.array(1, np.float32)), np.full((16, 16), 2.0))


def test_a_table_of_vectors_is_not_transposed(tiny: Targets, tmp_path: Path) -> None:
    layer = "lora_te1_text_model_embeddings_token_embedding"
    down = np.arange(2 * 8, dtype=np.float32).reshape(2, 8)
    up = np.arange(100 * 2, dtype=np.float32).reshape(100, 2)
    path = tmp_path / "words.safetensors"
    save_file({f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}, path)
    uses = [Weighted(read_lora(path, tiny), 1.0)]
    base = np.ones((100, 8), np.float32)
    [made] = merge(uses, "text_encoder", lambda _: base, most_rank=128)
    assert isinstance(made, Merged)
    assert np.array_equal(made.values, base + up @ down)


# The folder


def test_names_are_paths_in_the_folder(tiny: Targets, tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "styles/wash")
    write(tmp_path, ".hidden/ink")
    (tmp_path / "notes.txt").write_text("no LoRA")
    shelf = lora_shelf(tmp_path, tiny)
    assert shelf.scan()
    assert list(shelf.table) == ["ink", "styles/wash"]
    assert not shelf.scan()


def test_each_file_that_cannot_be_used_gets_one_line(tiny: Targets, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    (tmp_path / "text.safetensors").write_text("not safetensors")
    os.mkfifo(tmp_path / "pipe.safetensors")
    whole = write(tmp_path, "cut").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-1])
    lines: list[str] = []
    shelf = lora_shelf(tmp_path, tiny, lines.append)
    shelf.scan()
    shelf.scan()
    assert list(shelf.table) == ["ink"]
    for name in ("loop", "gone", "text", "pipe", "cut"):
        assert sum(name in line for line in lines) == 1, lines
    assert len(lines) == 5


def test_a_changed_file_gets_another_digest(tiny: Targets, tmp_path: Path) -> None:
    write(tmp_path)
    shelf = lora_shelf(tmp_path, tiny)
    shelf.scan()
    before = shelf.table["ink"]
    assert before.unchanged()
    write(tmp_path, alpha=np.array(1, np.float32))
    assert not before.unchanged()
    assert shelf.scan()
    assert shelf.table["ink"].digest != before.digest
    (tmp_path / "ink.safetensors").unlink()
    assert shelf.scan()
    assert shelf.table == {}


def test_watching_notices_a_new_file(tiny: Targets, tmp_path: Path) -> None:
    shelf = lora_shelf(tmp_path, tiny)
    noticed: list[list[str]] = []
    scanned = shelf.watch(0.01, lambda: noticed.append(list(shelf.table)))
    assert scanned.wait(30)
    write(tmp_path)
    while not noticed or noticed[-1] != ["ink"]:
        time.sleep(0.01)


# What a file says to people


def test_trigger_words_are_those_that_are_named_or_the_most_frequent_tags() -> None:
    tags = {"a": {"red": 2, "ink": 9}, "b": {"red": 3, "x\ny": 1, "bad": "3"}}
    frequency = {"ss_tag_frequency": json.dumps(tags)}
    assert metadata.trigger_words(frequency) == ("ink", "red", "x y")
    named = {"modelspec.trigger_phrase": "by hand, inky"}
    assert metadata.trigger_words(frequency | named) == ("by hand", "inky")


@pytest.mark.parametrize("text", ["[", "[1]", "3", '{"a": 1}', '{"a": {"b": null}}'])
def test_broken_metadata_says_nothing(text: str) -> None:
    assert metadata.trigger_words({"ss_tag_frequency": text}) == ()


def test_a_base_model_is_shortened() -> None:
    assert metadata.base_model({"ss_base_model_version": "sdxl" * 40}) == ("sdxl" * 16)
    assert metadata.base_model({}) is None


def test_every_naming_and_form_is_in_a_case() -> None:
    used = {use.file.name for case in LORA_CASES for use in case.uses}
    assert used == {file.name for file in FILES.values() if isinstance(file, LoraFile)}
