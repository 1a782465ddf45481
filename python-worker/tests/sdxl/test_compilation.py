"""Compiling ahead of time, and the cache of programs on disk."""

from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from easel_worker.sdxl.compilation import cache_programs_in, compile_ahead
from easel_worker.sdxl.sharding import make_mesh, replicated


@pytest.fixture
def empty_cache(tmp_path: Path) -> Iterator[Path]:
    """A cache of the test's own."""
    shared = jax.config.jax_compilation_cache_dir
    compilation_cache.reset_cache()
    cache_programs_in(tmp_path)
    yield tmp_path
    compilation_cache.reset_cache()
    cache_programs_in(Path(shared))


def test_a_program_is_compiled_once_and_then_found(empty_cache: Path) -> None:
    where = replicated(make_mesh(jax.devices()[:1]))

    def double(x: jax.Array) -> jax.Array:
        return 2 * x

    first = compile_ahead("double", double, (np.zeros(3, np.float32),), where)
    assert (first.info.name, first.info.cached) == ("double", False)
    assert list(empty_cache.iterdir())
    jax.clear_caches()
    second = compile_ahead("double", double, (np.zeros(3, np.float32),), where)
    assert second.info.cached
    for program in (first, second):
        assert np.array_equal(program.run(np.ones(3, np.float32)), [2, 2, 2])


def test_a_program_takes_nothing_else(empty_cache: Path) -> None:
    where = replicated(make_mesh(jax.devices()[:1]))
    program = compile_ahead("sum", lambda x: x.sum(), (np.zeros(3, np.float32),), where)
    with pytest.raises(TypeError, match="float32"):
        program.run(np.zeros(4, np.float32))
