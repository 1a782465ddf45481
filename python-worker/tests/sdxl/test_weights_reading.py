"""Weights are read in file order, with only a few tensors in memory."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from easel_worker.sdxl.folder import checkpoint, weights
from easel_worker.sdxl.model import params
from easel_worker.sdxl.model.layers import LayerNorm, Linear
from easel_worker.sdxl.model.params import Param

TREE = {
    "last": LayerNorm.declare("a", 4, eps=1e-5),
    "layers": [Linear.declare(f"layer{i}", 8, 8) for i in range(12)],
}
FILE = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint that matches TREE."""
    (tmp_path / "part").mkdir()
    declared = params.declared(TREE)
    save_file({p.name: np.ones(p.stored, np.float32) for p in declared}, tmp_path / "part" / FILE)
    return tmp_path


def test_reads_in_file_order(folder: Path) -> None:
    seen: list[str] = []

    def put(array: NDArray[Any], param: Param) -> jax.Array:
        seen.append(param.name)
        return jnp.asarray(array)

    weights.load(weights.Weights(folder / "part", "part"), TREE, jnp.float32, put)
    with safe_open(folder / "part" / FILE, framework="numpy") as handle:
        assert seen == list(handle.offset_keys())


class Slow:
    """An array whose transfer to the device completes when somebody waits."""

    in_flight = 0
    peak = 0

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        Slow.in_flight += nbytes
        Slow.peak = max(Slow.peak, Slow.in_flight)

    def block_until_ready(self) -> None:
        Slow.in_flight -= self.nbytes


def test_reading_waits_for_slow_devices(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    largest, limit = 8 * 8 * 4, 1000
    monkeypatch.setattr(weights, "MAX_BYTES_IN_FLIGHT", limit)

    def put(array: NDArray[Any], _: Param) -> Any:
        return Slow(array.nbytes)

    weights.load(weights.Weights(folder / "part", "part"), TREE, jnp.float32, put)
    assert limit < Slow.peak <= limit + largest


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_files_are_not_mapped(folder: Path) -> None:
    with checkpoint.open_tensors(folder / "part") as tensors:
        for tensor in tensors:
            tensor.read()
        assert str(folder) not in Path("/proc/self/maps").read_text()
