"""The compiler that tests and comparisons share."""

from functools import partial

import jax
import numpy as np

from easel_worker.sdxl.serving.sharding import make_mesh, replicated
from parity.compile_once import CompileOnce
from tests.sdxl.test_engine import counted_compilations

ONE, TWO = (replicated(make_mesh(jax.devices()[:count])) for count in (1, 2))


def scaled(x: jax.Array, *, by: float) -> jax.Array:
    return x * by


def test_a_program_is_compiled_at_its_first_call_and_once_for_each_shape() -> None:
    compiler = CompileOnce()
    twice, thrice = partial(scaled, by=2.0), partial(scaled, by=3.0)
    whole, half = np.ones(4, np.float32), np.ones(4, np.float16)
    with counted_compilations() as seen:
        programs = [
            compiler.compile("scaled", *rest)
            for rest in (
                (twice, (whole,), ONE),
                (partial(scaled, by=2.0), (jax.ShapeDtypeStruct(whole.shape, whole.dtype),), ONE),
                (thrice, (whole,), ONE),
                (twice, (half,), ONE),
                (twice, (whole[:2],), ONE),
                (twice, (whole,), TWO),
            )
        ]
    assert seen == []
    first, same, *others = programs
    assert np.array_equal(first.run(whole), 2 * whole)
    with counted_compilations() as seen:
        assert np.array_equal(same.run(whole), 2 * whole)
    assert seen == []
    for program, given in zip(others, (whole, half, whole[:2], whole), strict=True):
        with counted_compilations() as seen:
            made = program.run(given)
        assert seen
        assert (made.shape, made.dtype) == (given.shape, given.dtype)
    assert np.array_equal(others[0].run(whole), 3 * whole)
