"""Compiling ahead of time, and the cache of programs on disk."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from easel_worker.sdxl.serving.compilation import CompileHere, Program, finish, trace
from easel_worker.sdxl.serving.sharding import make_mesh, replicated


def compiled(name: str, function: Callable[..., jax.Array]) -> Program:
    """A program for three numbers, on one device."""
    where = replicated(make_mesh(jax.devices()[:1]))
    return CompileHere(lambda _: None).compile(name, function, (np.zeros(3, np.float32),), where)


def test_a_program_is_compiled_once_and_then_cached(empty_cache: Path) -> None:
    def double(x: jax.Array) -> jax.Array:
        return 2 * x

    first = compiled("double", double)
    assert (first.info.name, first.info.cached) == ("double", False)
    assert list(empty_cache.iterdir())
    jax.clear_caches()
    second = compiled("double", double)
    assert second.info.cached
    for program in (first, second):
        assert np.array_equal(program.run(np.ones(3, np.float32)), [2, 2, 2])


def test_a_program_refuses_arguments_of_other_shapes(empty_cache: Path) -> None:
    program = compiled("sum", lambda x: x.sum())
    with pytest.raises(TypeError, match="float32"):
        program.run(np.zeros(4, np.float32))


def test_two_compilations_of_a_function_share_no_executable() -> None:
    where = replicated(make_mesh(jax.devices()[:1]))
    shapes = (jax.ShapeDtypeStruct((3,), np.float32),)
    one, two = (finish(trace(jax.numpy.negative, shapes, where).lower(), where) for _ in range(2))
    assert one.runtime_executable() is not two.runtime_executable()
