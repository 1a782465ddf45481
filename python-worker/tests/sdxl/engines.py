"""Starts engines whose programs all tests of a run share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Sharding

from easel_worker.sdxl.serving.compilation import CompileHere, Compiler, Program
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from parity.compile_once import QUICKLY, CompileOnce

Report = Callable[[str], None]

COMPILER = CompileOnce()
"""Compiles a program when a test first calls it."""


def start(
    model: Path, compiler: Compiler = COMPILER, report: Report = lambda _: None, **options: Any
) -> SdxlEngine:
    """Return a warm engine for a model's default size and prompts of one chunk, on one device.

    Its images begin from noise alone.

    Args:
        model: the model's folder or file.
        compiler: makes the programs.
        report: see `Engine.warm`.
        options: the engine's, to change that.
    """
    least = {"sizes": [], "max_prompt_chunks": 1, "image_inputs": False}
    given = {"devices": jax.devices()[:1], **least} | options
    engine = SdxlEngine(model, Options(**given), compiler=compiler)
    engine.warm(report)
    return engine


def ahead(report: Report = lambda _: None) -> Compiler:
    """Return a compiler that compiles each program before its first call, as a worker does."""
    return CompileHere(report, QUICKLY)


def lowered(model: Path, **options: Any) -> dict[str, str]:
    """What a worker's programs compute, by name, without compiling them."""
    texts: dict[str, str] = {}

    class Lowering:
        def compile(
            self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], _: Sharding
        ) -> Program:
            texts[name] = jax.jit(function).lower(*arguments).as_text()
            return COMPILER.compile(name, function, arguments, _)

    start(model, Lowering(), **options)
    return texts
