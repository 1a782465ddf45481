"""Compiles what tests and comparisons call, rather than all that a worker may be asked for."""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from easel_worker.engine import ProgramInfo
from easel_worker.sdxl.serving.compilation import CompileHere, Program

QUICKLY = {"xla_backend_optimization_level": 1, "xla_llvm_disable_expensive_passes": True}
"""Options for XLA. Level 0 compiles in three quarters of the time, but its steps take 20 times as
long."""


class CompileOnce:
    """Compiles a program at its first call, and once for all models of one shape.

    A `Compiler`; programs are for one thread. They take the weights as arguments, so models with
    the same configuration have the same programs.
    """

    def __init__(self) -> None:
        """Start without programs."""
        self._compiler = CompileHere(lambda _: None, QUICKLY)
        self._made: dict[Hashable, Callable[..., Any]] = {}

    def forget(self) -> None:
        """Let go of all programs."""
        self._made.clear()

    def compile(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], where: Sharding
    ) -> Program:
        """See `Compiler.compile`."""
        key = (_identity(function), _shapes(arguments), where)

        def run(*given: Any) -> Any:
            if key not in self._made:
                made = self._compiler.compile(name, function, arguments, where)
                self._made[key] = made.run
            return self._made[key](*given)

        return Program(ProgramInfo(name, 0.0, cached=False), run)


def _identity(function: Callable[..., Any]) -> Hashable:
    if isinstance(function, partial):
        return _identity(function.func), function.args, tuple(sorted(function.keywords.items()))
    return function


def _shapes(arguments: tuple[Any, ...]) -> Hashable:
    leaves, structure = jax.tree.flatten(arguments)
    return structure, tuple((np.shape(leaf), np.dtype(leaf.dtype)) for leaf in leaves)
