"""Strict loading: unknown, missing and wrongly shaped tensors are errors in every file format."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.weights import Weights, WeightsError
from easel_worker.sdxl.model import params
from easel_worker.sdxl.model.layers import Conv, GroupNorm, Linear
from easel_worker.sdxl.model.params import Param, layer

Arrays = dict[str, NDArray[Any]]

PART = "part"
FILE = "diffusion_pytorch_model.safetensors"


@layer
class Model:
    """One layer of each type."""

    norm: GroupNorm
    layers: tuple[Linear, ...]
    conv: Conv


TREE = Model(
    norm=GroupNorm.declare("norm", 4, groups=2, eps=1e-5),
    layers=(
        Linear.declare("linear", 3, 4, former_name="dense"),
        Linear.declare("point", 3, 4, stored_as_conv=True),
    ),
    conv=Conv.declare("conv", 2, 3),
)


@pytest.fixture
def stored() -> Arrays:
    """A checkpoint that matches TREE."""
    rng = np.random.default_rng(0)
    shapes = {p.name: p.stored for p in params.declared(TREE)}
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def put(array: NDArray[Any], _: Param) -> jax.Array:
    return jnp.asarray(array)


def load(folder: Path, dtype: Any = jnp.float32) -> Model:
    return weights.load(Weights(folder / PART, PART), TREE, dtype, put)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint file and returns its model folder."""

    def write(tensors: Arrays, file: str = FILE) -> Path:
        (tmp_path / PART).mkdir(exist_ok=True)
        save_file(tensors, tmp_path / PART / file)
        return tmp_path

    return write


SaveFile = Callable[..., Path]


def test_stored_layouts_are_converted_to_ours(stored: Arrays, save: SaveFile) -> None:
    loaded = load(save(stored))
    linear, point = loaded.layers
    np.testing.assert_array_equal(loaded.conv.weight[2, 1, 0, 2], stored["conv.weight"][2, 0, 2, 1])
    np.testing.assert_array_equal(linear.weight, stored["linear.weight"].T)
    np.testing.assert_array_equal(point.weight, stored["point.weight"][:, :, 0, 0].T)
    np.testing.assert_array_equal(loaded.norm.bias, stored["norm.bias"])


def test_a_converted_convolution_computes_the_same(stored: Arrays, save: SaveFile) -> None:
    """Compares one pixel of a 3×3 convolution with its definition on the stored OIHW tensor."""
    loaded = load(save(stored))
    patch = np.random.default_rng(1).standard_normal((3, 3, 2), np.float32)
    ours = np.einsum("hwi,hwio->o", patch, loaded.conv.weight)
    theirs = np.einsum("hwi,oihw->o", patch, stored["conv.weight"])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("held", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("wanted", [jnp.float32, jnp.bfloat16])
def test_stored_dtypes_are_converted(
    stored: Arrays, save: SaveFile, held: Any, wanted: Any
) -> None:
    half = {name: value.astype(held) for name, value in stored.items()}
    loaded = load(save(half), wanted)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {jnp.dtype(wanted)}
    expected = half["norm.weight"].astype(np.float32).astype(wanted)
    np.testing.assert_array_equal(np.asarray(loaded.norm.weight), expected)


def test_the_fp16_variant_is_read_unless_full_precision_exists(
    stored: Arrays, save: SaveFile
) -> None:
    other = {name: value + 1 for name, value in stored.items()}
    folder = save(other, "diffusion_pytorch_model.fp16.safetensors")
    np.testing.assert_array_equal(load(folder).norm.bias, other["norm.bias"])
    save(stored)
    np.testing.assert_array_equal(load(folder).norm.bias, stored["norm.bias"])


def test_an_unknown_tensor_is_refused(stored: Arrays, save: SaveFile) -> None:
    folder = save(stored | {"lora.up": np.zeros((2, 2), np.float32)})
    with pytest.raises(WeightsError, match=rf"{FILE}: unknown tensor lora\.up \[2, 2\]"):
        load(folder)


def test_a_missing_tensor_is_refused(stored: Arrays, save: SaveFile) -> None:
    del stored["norm.bias"]
    folder = save(stored)
    with pytest.raises(WeightsError, match=r"part: missing tensor norm\.bias"):
        load(folder)


def test_a_tensor_of_another_shape_is_refused(stored: Arrays, save: SaveFile) -> None:
    stored["linear.weight"] = np.ascontiguousarray(stored["linear.weight"].T)
    folder = save(stored)
    expected = rf"{FILE}: linear\.weight has shape \[3, 4\], but the config requires \[4, 3\]"
    with pytest.raises(WeightsError, match=expected):
        load(folder)


def test_a_tensor_of_another_shape_is_not_also_missing(stored: Arrays, save: SaveFile) -> None:
    stored["norm.bias"] = np.zeros(5, np.float32)
    with pytest.raises(WeightsError) as caught:
        load(save(stored))
    assert "missing" not in str(caught.value)


def test_lists_ten_problems_and_counts_the_rest(stored: Arrays, save: SaveFile) -> None:
    extra = {f"extra.{i}": np.zeros(1, np.float32) for i in range(30)}
    del stored["norm.bias"]
    with pytest.raises(WeightsError, match="and 21 more"):
        load(save(stored | extra))


def test_checks_all_tensors_before_reading_any(stored: Arrays, save: SaveFile) -> None:
    del stored["norm.bias"]
    calls: list[str] = []

    def spy(array: NDArray[Any], param: Param) -> jax.Array:
        calls.append(param.name)
        return jnp.asarray(array)

    with pytest.raises(WeightsError):
        weights.load(Weights(save(stored) / PART, PART), TREE, jnp.float32, spy)
    assert calls == []


def test_put_receives_our_layout_and_dtype_and_the_declaration(
    stored: Arrays, save: SaveFile
) -> None:
    seen: dict[str, tuple[Any, ...]] = {}

    def spy(array: NDArray[Any], param: Param) -> jax.Array:
        assert array.flags.c_contiguous
        seen[param.name] = (array.shape, array.dtype, param.shape)
        return jnp.asarray(array)

    weights.load(Weights(save(stored) / PART, PART), TREE, jnp.bfloat16, spy)
    assert seen["conv.weight"] == ((3, 3, 2, 3), jnp.bfloat16, (3, 3, 2, 3))
    assert seen.keys() == stored.keys()


def test_a_former_name_is_accepted(stored: Arrays, save: SaveFile) -> None:
    stored["dense.weight"] = stored.pop("linear.weight")
    loaded = load(save(stored))
    np.testing.assert_array_equal(loaded.layers[0].weight, stored["dense.weight"].T)


def test_both_former_and_present_name_are_refused(stored: Arrays, save: SaveFile) -> None:
    folder = save(stored | {"dense.weight": stored["linear.weight"]})
    with pytest.raises(WeightsError, match=r"linear\.weight is also in .* as dense\.weight"):
        load(folder)


HARMLESS: Arrays = {
    "text_model.embeddings.position_ids": np.arange(77)[None],
    "text_projection.weight": np.ones((2, 2), np.float32),
    "logit_scale": np.ones((), np.float32),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_tensors_of_clip_that_the_text_encoder_does_not_use_are_ignored(
    stored: Arrays, save: SaveFile, name: str
) -> None:
    source = save(stored | {name: HARMLESS[name]}) / PART
    weights.load(Weights(source, "text_encoder"), TREE, jnp.float32, put)
    with pytest.raises(WeightsError, match=f"unknown tensor {name}"):
        weights.load(Weights(source, "unet"), TREE, jnp.float32, put)


def write_shards(folder: Path, shards: dict[str, Arrays], weight_map: dict[str, str]) -> Path:
    (folder / PART).mkdir()
    for file, tensors in shards.items():
        save_file(tensors, folder / PART / file)
    index = folder / PART / f"{FILE}.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    return folder


def halves(stored: Arrays) -> dict[str, Arrays]:
    names = sorted(stored)
    return {
        "a.safetensors": {name: stored[name] for name in names[::2]},
        "b.safetensors": {name: stored[name] for name in names[1::2]},
    }


def test_shards_are_read_through_their_index(stored: Arrays, tmp_path: Path) -> None:
    shards = halves(stored)
    placed = {name: file for file, tensors in shards.items() for name in tensors}
    loaded = load(write_shards(tmp_path, shards, placed))
    np.testing.assert_array_equal(loaded.norm.bias, stored["norm.bias"])
    np.testing.assert_array_equal(loaded.norm.weight, stored["norm.weight"])


def test_an_index_that_lists_an_absent_tensor_is_refused(stored: Arrays, tmp_path: Path) -> None:
    shards = halves(stored)
    placed = {name: file for file, tensors in shards.items() for name in tensors}
    folder = write_shards(tmp_path, shards, placed | {"ghost": "b.safetensors"})
    with pytest.raises(WeightsError, match=r"ghost of b\.safetensors is listed but absent"):
        load(folder)


def test_a_shard_with_an_unlisted_tensor_is_refused(stored: Arrays, tmp_path: Path) -> None:
    shards = halves(stored)
    placed = {name: file for file, tensors in shards.items() for name in tensors}
    del placed["norm.weight"]
    with pytest.raises(WeightsError, match=r"norm\.weight of .\.safetensors is not listed"):
        load(write_shards(tmp_path, shards, placed))


def test_a_missing_shard_is_named(stored: Arrays, tmp_path: Path) -> None:
    folder = write_shards(tmp_path, {}, dict.fromkeys(stored, "a.safetensors"))
    with pytest.raises(WeightsError, match=r"a\.safetensors cannot be read"):
        load(folder)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / PART).mkdir()
    (tmp_path / PART / FILE).write_bytes(b"not safetensors")
    with pytest.raises(WeightsError, match=f"{FILE} cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": {"norm.bias": 3}}'])
def test_a_broken_index_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / PART).mkdir()
    (tmp_path / PART / f"{FILE}.index.json").write_text(text)
    with pytest.raises(WeightsError, match=r"index\.json is not a safetensors index"):
        load(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="has no weights that can be read: expected "):
        load(tmp_path)


def test_random_parameters_have_declared_shapes_and_depend_only_on_names() -> None:
    key = jax.random.key(3)
    drawn = weights.init(TREE, key, jnp.bfloat16)
    shapes = weights.abstract(TREE, jnp.bfloat16)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), drawn) == jax.tree.map(
        lambda a: (a.shape, a.dtype), shapes
    )
    alone = weights.init(TREE.layers[0], key, jnp.bfloat16)
    np.testing.assert_array_equal(alone.weight, drawn.layers[0].weight)
    assert drawn.norm.weight.tolist() == [1, 1, 1, 1]
    assert drawn.norm.bias.tolist() == [0, 0, 0, 0]


def test_leaves_are_sorted_by_field_and_static_fields_are_not_leaves() -> None:
    """Compiled programs are keyed by their arguments, so the order in the class must not matter."""
    names = [param.name for param in params.declared(TREE)]
    assert names == [
        "conv.bias",
        "conv.weight",
        "linear.bias",
        "linear.weight",
        "point.bias",
        "point.weight",
        "norm.bias",
        "norm.weight",
    ]
    assert jax.tree.structure(TREE) != jax.tree.structure(
        replace(TREE, norm=replace(TREE.norm, groups=4))
    )
