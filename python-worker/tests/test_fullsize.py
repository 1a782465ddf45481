"""The full-size checkpoint's writer, on small parts: the worker can load its output."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easel_worker.sdxl.folder import checkpoint, weights
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.folder.files import locate
from easel_worker.sdxl.model import params
from easel_worker.sdxl.model.layers import Linear
from easel_worker.sdxl.model.params import declared
from parity import synthetic
from parity.fullsize import single_file
from parity.fullsize.checkpoint import CONFIGS, split, write, write_part
from parity.ours import declare, put
from tests.sdxl import tiny_model

STEM = "diffusion_pytorch_model"
TREE = {f"l{i}": Linear.declare(f"l{i}", 8, 8) for i in range(5)}


def test_shards_are_full_and_hold_all_tensors_in_order() -> None:
    shards = list(split(declared(TREE), 300))
    assert [param for shard in shards for param in shard] == declared(TREE)
    sizes = [sum(2 * param.size for param in shard) for shard in shards]
    assert max(sizes) <= 300
    assert all(
        size + 2 * shard[0].size > 300 for size, shard in zip(sizes, shards[1:], strict=False)
    )


def test_a_tensor_larger_than_a_shard_gets_its_own() -> None:
    assert [len(shard) for shard in split(declared(TREE), 1)] == [1] * 10


@pytest.mark.parametrize(
    ("shard_bytes", "file"),
    [(300, f"{STEM}.safetensors.index.fp16.json"), (10**6, f"{STEM}.fp16.safetensors")],
)
def test_the_worker_reads_it(tmp_path: Path, shard_bytes: int, file: str) -> None:
    (tmp_path / "unet").mkdir()
    write_part(tmp_path / "unet", STEM, declared(TREE), shard_bytes)
    assert checkpoint.find(tmp_path / "unet").name == file
    loaded = weights.load(weights.Weights(tmp_path / "unet", "unet"), TREE, jnp.float32, put)
    expected = synthetic.weight("l3.weight", (8, 8), gain=1.0).astype(np.float16)
    np.testing.assert_array_equal(loaded["l3"].weight, expected.T)


def test_the_worker_reads_a_single_file(tmp_path: Path) -> None:
    tiny = tiny_model.write(tmp_path / "tiny")
    config = load_config(tiny)
    for path in tiny.glob("*/*.safetensors"):
        path.unlink()
    single_file.write(tiny / "random.safetensors", config)
    files = locate(tiny)
    for part, tree in declare(config).items():
        loaded = weights.load(files.components[part].weights, tree, jnp.float32, put)
        expected = [
            p.layout.arrange(synthetic.weight(p.name, p.stored, gain=1.0).astype(np.float16))
            for p in declared(tree)
        ]
        for array, value in zip(jax.tree.leaves(loaded), expected, strict=True):
            np.testing.assert_array_equal(array, value)


def test_the_index_has_the_total_size(tmp_path: Path) -> None:
    write_part(tmp_path, STEM, declared(TREE), 300)
    index = json.loads((tmp_path / f"{STEM}.safetensors.index.fp16.json").read_text())
    assert index["metadata"] == {"total_size": 2 * params.count(TREE)}
    assert {path.name for path in tmp_path.glob("*.safetensors")} == set(
        index["weight_map"].values()
    )


def test_an_existing_folder_is_unchanged(tmp_path: Path) -> None:
    write(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert (CONFIGS / "model_index.json").exists()
