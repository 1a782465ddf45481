"""Options become an engine."""

from pathlib import Path

import pytest

from easel_worker.engine import Engine
from easel_worker.engines import ENGINES
from easel_worker.process_options import load

DEMO = Path(__file__).parents[2] / "models" / "demo"


def build(*arguments: str) -> Engine:
    options = load(arguments, {})
    return ENGINES[options.engine].build(options.model, options.of_engine, None)


def test_the_fake_engine_gets_its_options() -> None:
    flags = ["--engine", "fake", "--sizes", "64x48,32x32", "--rows", "3"]
    engine = build(*flags, "--fake-faults", "raise:warm")
    assert (engine.capabilities.sizes, engine.capabilities.rows) == (((64, 48), (32, 32)), 3)
    with pytest.raises(RuntimeError, match="requested fault"):
        engine.warm(lambda _: None)


def test_the_fake_engines_own_sizes_and_rows() -> None:
    engine = build("--engine", "fake")
    assert engine.capabilities.sizes == ((1024, 1024), (512, 512))
    assert engine.capabilities.rows == 8


def test_the_real_engine_refuses_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises((ValueError, OSError), match=str(tmp_path)):
        build("--engine", "sdxl", "--model", str(tmp_path / "no-model"))


def test_the_real_engine_refuses_too_few_rows() -> None:
    with pytest.raises(ValueError, match="a guided image needs 2"):
        build("--engine", "sdxl", "--model", str(DEMO), "--rows", "1")
