"""A worker uses the programs that easel-compile wrote, and makes the same images."""

import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from easel_worker.compile import command, table
from easel_worker.compile.counting_compiler import CountingCompiler
from easel_worker.compile.memory import residents
from easel_worker.compile.plan import compile_all, read
from easel_worker.compile.topology import TopologyError, devices
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.artifacts import MANIFEST, ArtifactWriter
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from tests.sdxl.tiny_model import LENGTH, spec, write, write_refiner

OPTIONS = {"devices": jax.devices()[:1], "sizes": [], "max_prompt_chunks": 1}


def image(folder: Path, options: Options, said: list[str]) -> np.ndarray:
    engine = SdxlEngine(folder, options)
    engine.warm(said.append)
    lane = engine.start(spec(steps=2))
    engine.step([lane])
    engine.step([lane])
    return engine.finish(lane)


def test_a_worker_uses_programs_compiled_ahead(tmp_path: Path, empty_cache: Path) -> None:
    """Those of its model and of its refiner."""
    folder, made = write(tmp_path / "tiny"), tmp_path / "made"
    whole = {**OPTIONS, "refiner": write_refiner(tmp_path / "refiner")}
    options = Options(**whole)
    plan = read(folder, options, only=False)
    writer = ArtifactWriter(made, resolve.devices(options))
    compiler = CountingCompiler(None, None, writer, re.compile(""), lambda _: None)
    compile_all(plan, compiler)
    names = [each.name for each in compiler.counted]
    assert sorted(json.loads((made / MANIFEST).read_text())["programs"].values()) == sorted(names)

    said: list[str] = []
    ahead = image(folder, Options(**whole, artifacts=made), said)
    assert [f"took {name} from {made}" for name in names] == [
        line.rpartition(" in ")[0] for line in said if line.startswith("took")
    ]
    assert np.array_equal(ahead, image(folder, options, []))

    said.clear()
    other = Options(**whole, artifacts=made, dtype="bfloat16")
    image(folder, other, said)
    assert any("has no encode that fits this model and these options" in line for line in said)


def test_the_command_compiles_for_a_worker_with_embeddings(
    tmp_path: Path, empty_cache: Path
) -> None:
    """The encoding of prompts then takes vectors: it is another program."""
    folder, made, embeddings = write(tmp_path / "tiny"), tmp_path / "made", tmp_path / "embeddings"
    embeddings.mkdir()
    wanted = ["--embeddings", str(embeddings), "--max-prompt-chunks", "1", "--programs", "^encode"]
    assert command.main(["--model", str(folder), *wanted, "--write", str(made)]) == 0

    given: dict[str, Any] = {"sizes": [], "max_prompt_chunks": 1, "image_inputs": False}

    def not_taken(**options: Any) -> list[str]:
        said: list[str] = []
        engine = SdxlEngine(folder, Options(**given, artifacts=made, **options))
        engine.warm(said.append)
        return [line for line in said if "has no encode" in line]

    assert not_taken(embeddings=embeddings) == []
    assert len(not_taken()) == 2  # also that of prompts with hidden tokens


def test_reports_why_a_folder_of_programs_is_not_used(tmp_path: Path) -> None:
    said: list[str] = []
    image(write(tmp_path / "tiny"), Options(**OPTIONS, artifacts=tmp_path / "none"), said)
    assert any(
        line.startswith("compiling all programs") and "easel-compile" in line for line in said
    )


def test_counts_the_memory_of_programs(tmp_path: Path, empty_cache: Path) -> None:
    plan = read(write(tmp_path / "tiny"), Options(**OPTIONS), only=False)
    wanted = re.compile("^(denoise|decode)")
    compiler = CountingCompiler(None, None, None, wanted, lambda _: None)
    compile_all(plan, compiler)
    found = residents(plan.params, compiler.counted)
    # Two rows of keys and values for each of four blocks, and of the pooled prompt; sample and
    # image; a few numbers per step. No weights, not even those that the step does not use.
    keys_and_values = 2 * 4 * 2 * LENGTH * 16 * 4
    pooled_and_state = 2 * 8 * 4 + 2 * 4 * 8 * 4 * 4
    assert 0 <= found.image - keys_and_values - pooled_and_state < 200
    assert found.total(2) - found.total(1) == found.image
    lines = table.programs_table(compiler.counted, None).splitlines()
    assert [line.split()[0] for line in lines] == ["program", "denoise", "denoise", "decode"]


def test_refuses_an_unknown_topology() -> None:
    with pytest.raises(TopologyError, match="choose v5e:1x1"):
        devices("v9:1x1")


def test_the_command_has_the_workers_options(
    tmp_path: Path, empty_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(write(tmp_path / "tiny")), "--programs", "^begin"]
    counts = tmp_path / "counts.json"
    chosen = ["--sizes", "8x8", "--only-sizes", "--dtype", "bfloat16", "--split-guidance"]
    assert command.main([*model, *chosen, "--json", str(counts)]) == 0
    assert [each["name"] for each in json.loads(counts.read_text())["programs"]] == ["begin 8x8"]
    capsys.readouterr()
    assert command.main([*model, "--vae-dtype", "float16"]) == 2
    wrong = "easel-compile: --vae-dtype: must be one of auto, bfloat16, float32\n"
    assert capsys.readouterr().err == wrong
