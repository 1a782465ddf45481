"""The cache of programs on a disk that is full, read-only or damaged."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from easel_worker.sdxl.serving.compilation import CompileHere, Program, cache_programs_in
from easel_worker.sdxl.serving.sharding import make_mesh, replicated
from tests.support.disk import full_disk

SETTING = "COMPILE_CACHE (--compile-cache)"


def triple(x: jax.Array) -> jax.Array:
    return 3 * x


def compiled() -> Program:
    """A program for three numbers, on one device, from the folder or newly compiled."""
    jax.clear_caches()
    where = replicated(make_mesh(jax.devices()[:1]))
    program = CompileHere(lambda _: None).compile("it", triple, (np.zeros(3, np.float32),), where)
    assert np.array_equal(program.run(np.ones(3, np.float32)), [3, 3, 3])
    return program


def entry(folder: Path) -> Path:
    """The only file in a folder."""
    (path,) = folder.iterdir()
    assert path.name.endswith("-cache")
    return path


def test_a_full_disk_logs_one_warning_and_compiles(
    empty_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with full_disk():
        assert not compiled().info.cached
        assert not compiled().info.cached
    assert list(empty_cache.iterdir()) == []
    (said,) = caplog.messages
    assert said.startswith(f"{SETTING}: programs cannot be kept in {empty_cache}: File too large.")
    assert not compiled().info.cached
    assert compiled().info.cached


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:100],
        lambda _: b"",
        lambda data: bytes(len(data)),
        lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
    ],
    ids=["cut", "empty", "zeros", "flipped"],
)
def test_a_damaged_entry_is_replaced(
    empty_cache: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    compiled()
    path = entry(empty_cache)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="Error reading persistent compilation cache"):
        assert not compiled().info.cached
    assert caplog.messages == [f"{SETTING}: a damaged entry of {empty_cache} is replaced"]
    assert entry(empty_cache) == path
    assert compiled().info.cached


def test_an_unreadable_entry_is_compiled_again(
    empty_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    compiled()
    path = entry(empty_cache)
    path.unlink()
    path.mkdir()
    assert not compiled().info.cached
    assert entry(empty_cache) == path
    (said,) = caplog.messages
    assert f"programs cannot be kept in {empty_cache}: Is a directory" in said


def test_a_read_only_folder_is_read(
    empty_cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled()
    path = entry(empty_cache)

    def refuse(self: Path, *_: object) -> None:
        raise OSError(30, "Read-only file system", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        patch.setattr(Path, "unlink", refuse)
        patch.setattr(Path, "read_bytes", _read)
        cache_programs_in(empty_cache)
        assert compiled().info.cached
        assert caplog.messages == []
        path.rename(path.with_name("another-cache"))
        assert not compiled().info.cached
    (said,) = caplog.messages
    assert f"programs cannot be kept in {empty_cache}: Read-only file system" in said


@pytest.mark.usefixtures("empty_cache")
def test_a_folder_that_cannot_be_created_logs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", None)
    cache_programs_in(tmp_path / "file" / "cache")
    (said,) = caplog.messages
    assert f"programs cannot be kept in {tmp_path / 'file' / 'cache'}: Not a directory" in said
    assert not compiled().info.cached
    assert not compiled().info.cached


def _read(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read()
