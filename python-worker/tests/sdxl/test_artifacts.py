"""Programs are written to a folder and loaded from it, or refused with a reason."""

import json
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from easel_worker.sdxl.serving.artifacts import (
    MANIFEST,
    ArtifactError,
    ArtifactWriter,
    UseArtifacts,
)
from easel_worker.sdxl.serving.compilation import Program, trace
from easel_worker.sdxl.serving.fingerprint import fingerprint
from easel_worker.sdxl.serving.sharding import make_mesh, replicated
from tests.support.disk import full_disk

DEVICES = jax.devices()[:1]
ARGUMENTS = (np.zeros(3, np.float32), {"b": np.zeros((), np.float32)})


def scale(x: jax.Array, rest: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {"y": 3 * x + rest["b"]}


def shift(x: jax.Array, rest: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {"y": x + rest["b"]}


@pytest.fixture
def folder(tmp_path: Path, empty_cache: Path) -> Path:
    """With `scale` in it. On a CPU jax cannot serialize what it found in its own cache."""
    lowered = trace(scale, ARGUMENTS, replicated(make_mesh(DEVICES))).lower()
    size = ArtifactWriter(tmp_path / "made", DEVICES).add("scale", lowered, lowered.compile())
    assert size == sum(f.stat().st_size for f in (tmp_path / "made").glob("*.zlib"))
    return tmp_path / "made"


def use(folder: Path, function: object, said: list[str]) -> Program:
    compiler = UseArtifacts(folder, DEVICES, said.append)
    return compiler.compile("it", function, ARGUMENTS, replicated(make_mesh(DEVICES)))  # type: ignore[arg-type]


def run(program: Program) -> list[float]:
    result = program.run(np.arange(3, dtype=np.float32), {"b": np.float32(1)})
    return [float(each) for each in result["y"]]


def test_a_stored_program_is_used(folder: Path) -> None:
    said: list[str] = []
    program = use(folder, scale, said)
    assert said[0].startswith(f"took it from {folder}")
    assert program.info.cached
    assert run(program) == [1, 4, 7]


def test_a_program_that_is_not_stored_is_compiled(folder: Path) -> None:
    said: list[str] = []
    assert run(use(folder, shift, said)) == [1, 2, 3]
    assert "has no it that fits this model and these options" in said[0]


DAMAGED = {
    "cut": lambda data: data[:100],
    "empty": lambda _: b"",
    "no pickle": lambda _: zlib.compress(b"c"),
    "a pickle of what is not there": lambda _: zlib.compress(b"cnowhere\nnothing\n."),
    "a pickle of something else": lambda _: zlib.compress(pickle.dumps(1)),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_program_is_compiled(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    (file,) = folder.glob("*.zlib")
    file.write_bytes(damage(file.read_bytes()))
    said: list[str] = []
    assert run(use(folder, scale, said)) == [1, 4, 7]
    assert f"it in {folder} cannot be used" in said[0]


def test_a_missing_program_is_compiled(folder: Path) -> None:
    (file,) = folder.glob("*.zlib")
    file.unlink()
    said: list[str] = []
    assert run(use(folder, scale, said)) == [1, 4, 7]
    assert f"it in {folder} cannot be used" in said[0]


@pytest.mark.usefixtures("empty_cache")
def test_a_full_disk_leaves_earlier_programs_unchanged(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    lowered = trace(shift, ARGUMENTS, replicated(make_mesh(DEVICES))).lower()
    compiled = lowered.compile()
    with full_disk(), pytest.raises(OSError, match="too large"):
        ArtifactWriter(folder, DEVICES).add("shift", lowered, compiled)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("manifest", [b"", b"[]", b'{"fingerprint": {}, "programs"', b"\xff"])
def test_a_damaged_manifest_is_refused(folder: Path, manifest: bytes) -> None:
    (folder / MANIFEST).write_bytes(manifest)
    with pytest.raises(ArtifactError, match="easel-compile --write"):
        UseArtifacts(folder, DEVICES, print)


def test_refuses_programs_for_other_devices_and_names_the_differences(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["fingerprint"] |= {"jaxlib": "0.0.1", "device": "TPU v5 lite"}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="device is 'cpu' here and was 'TPU v5 lite'; jaxlib"):
        UseArtifacts(folder, DEVICES, print)


def test_a_folder_without_programs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="easel-compile --write"):
        UseArtifacts(tmp_path, DEVICES, print)


def test_the_fingerprint_of_a_gpu_has_its_libraries_and_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tmp_path / "version"
    driver.write_text("NVRM version: 580.159\nGCC version: 12\n")
    monkeypatch.setattr("easel_worker.sdxl.serving.fingerprint.NVIDIA_DRIVER", driver)
    client = SimpleNamespace(platform_version="PJRT C API\ncuda 13000")
    card = SimpleNamespace(platform="gpu", device_kind="NVIDIA H200", client=client, coords=None)
    found = fingerprint([card])  # type: ignore[list-item]
    assert found["runtime"] == client.platform_version
    assert found["driver"] == "NVRM version: 580.159"
    assert found["cudnn"] == "of the system"
    other = fingerprint(jax.devices()[:1])
    assert not {"runtime", "driver", "cudnn"} & other.keys()
